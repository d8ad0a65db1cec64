() => {
  const UNITS = 10000;  // parts of the longer side of a photo, as the server counts them

  /* Lines of the status are read out, but those about steps only now and then. */
  const spoken = document.createElement("div");
  spoken.className = "only-read";
  spoken.setAttribute("role", "status");
  (document.querySelector(".gradio-container main") || document.body).append(spoken);
  let last = 0;
  window.readOut = (text) => {
    const step = text.includes("% done");
    if (step && Date.now() - last < 30000) return;
    last = Date.now();
    spoken.textContent = text;
  };

  /* Pixels of the screen, so that pictures can be shown pixel for pixel. */
  const measure = () =>
    document.documentElement.style.setProperty("--pixel", window.devicePixelRatio || 1);
  measure();
  window.addEventListener("resize", measure);

  /* The brush. What was painted on a photo stays when its picture is hidden for a while. */
  let kept = { src: "", strokes: [] };
  const wire = (root) => {
    root.dataset.ready = "true";
    const photo = root.querySelector("img");
    const canvas = root.querySelector("canvas");
    const button = (name) => root.querySelector(`[data-do=${name}]`);
    const brush = root.querySelector("input");
    let strokes = kept.src === photo.src ? kept.strokes : [], stroke = null, at = null;

    const scale = () => Math.max(canvas.width, canvas.height) / UNITS;
    const width = () => Math.max(1, Math.round((Number(brush.value) / 100) * UNITS));
    const tell = () => {
      const field = document.querySelector("#strokes textarea, #strokes input");
      field.value = strokes.length ? JSON.stringify(strokes) : "";
      field.dispatchEvent(new Event("input", { bubbles: true }));
      show();
    };
    const show = () => {
      kept = { src: photo.src, strokes };
      button("undo").disabled = button("clear").disabled = !strokes.length;
      const many = strokes.length === 1 ? "1 stroke" : `${strokes.length} strokes`;
      root.querySelector("[aria-live]").textContent = strokes.length ? many : "";
    };
    const draw = () => {
      const context = canvas.getContext("2d"), s = scale();
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.lineCap = context.lineJoin = "round";
      context.strokeStyle = "#ff0080";
      for (const [size, ...places] of stroke ? [...strokes, stroke] : strokes) {
        context.lineWidth = Math.max(1, size * s);
        context.beginPath();
        context.moveTo(places[0] * s, places[1] * s);
        for (let i = 0; i < places.length; i += 2) context.lineTo(places[i] * s, places[i + 1] * s);
        context.stroke();
      }
      if (at && document.activeElement === canvas) {
        context.lineWidth = 3;
        context.strokeStyle = stroke ? "#ffffff" : "#000000";
        context.beginPath();
        context.arc(at[0] * s, at[1] * s, Math.max(3, (width() * s) / 2), 0, 7);
        context.stroke();
      }
    };
    const lift = () => {
      if (!stroke) return;
      strokes.push(stroke);
      stroke = null;
      tell();
      draw();
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      const units = UNITS / Math.max(box.width, box.height);
      return [event.clientX - box.left, event.clientY - box.top].map((n) => Math.round(n * units));
    };

    const begin = () => {
      canvas.width = photo.naturalWidth;
      canvas.height = photo.naturalHeight;
      show();
      draw();
    };
    if (photo.complete) begin(); else photo.addEventListener("load", begin);

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      stroke = [width(), ...place(event)];
      draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!stroke || !canvas.hasPointerCapture(event.pointerId)) return;
      stroke.push(...place(event));
      draw();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, lift);
    canvas.addEventListener("keydown", (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const ends = [canvas.width, canvas.height].map((n) => n / scale());
      at = at || ends.map((n) => Math.round(n / 2));
      if (event.key === " ") {
        if (stroke) lift(); else stroke = [width(), ...at];
      } else if (ways[event.key]) {
        const far = (event.shiftKey ? 4 : 1) * Math.max(20, width() / 2);
        at = at.map((n, i) => Math.round(Math.min(ends[i], Math.max(0, n + far * ways[event.key][i]))));
        if (stroke) stroke.push(...at);
      } else return;
      event.preventDefault();
      draw();
    });
    canvas.addEventListener("focus", draw);
    canvas.addEventListener("blur", () => { lift(); draw(); });
    button("paint").addEventListener("click", () => {
      const on = root.classList.toggle("painting");
      button("paint").setAttribute("aria-pressed", on);
      canvas.setAttribute("role", on ? "application" : "img");
      if (on) { canvas.tabIndex = 0; canvas.focus(); } else canvas.removeAttribute("tabindex");
    });
    button("undo").addEventListener("click", () => { strokes.pop(); tell(); draw(); });
    button("clear").addEventListener("click", () => { strokes = []; tell(); draw(); });
  };
  new MutationObserver(() => document.querySelectorAll(".paint:not([data-ready])").forEach(wire))
    .observe(document.body, { childList: true, subtree: true });
}
