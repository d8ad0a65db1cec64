document.addEventListener("input", (event) => {
  const stack = event.target.closest(".compare .stack");
  if (stack) stack.style.setProperty("--at", `${event.target.value}%`);
});
