# docker build -f docker/cpu.Dockerfile -t d2ir .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/photos" d2ir predict --data.inputs blurred --output results
# docker run --rm -p 127.0.0.1:7860:7860 d2ir serve --host 0.0.0.0    # the page at http://localhost:7860
#
# TORCH is PyTorch's default build, which contains the libraries of CUDA. The CPU build is much
# smaller: https://pytorch.org/get-started/locally/ shows what follows `pip install` for it.
FROM python:3.13-slim

ARG TORCH="torch==2.13.0"

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    D2IR_CACHE=/cache

# First what changes least: PyTorch is most of the image.
# hadolint ignore=DL3013,SC2086
RUN pip install ${TORCH}

WORKDIR /src
COPY . .
RUN pip install -c constraints.txt ".[demo,photos]" \
    && install --directory --mode 1777 /cache

# Published priors are kept in /cache; give it a volume to keep them for the next container.
VOLUME /cache
WORKDIR /photos
USER 1000:1000
ENTRYPOINT ["d2ir"]
CMD ["--help"]
