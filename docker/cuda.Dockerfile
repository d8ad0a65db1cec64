# docker build -f docker/cuda.Dockerfile -t d2ir-cuda .
# docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" -v "$PWD:/photos" d2ir-cuda \
#     predict --data.inputs blurred --output results --trainer.accelerator gpu
#
# The host needs NVIDIA's driver and its container toolkit. The libraries of CUDA come with
# PyTorch's wheel, so the image needs none of its own. For another version of CUDA set TORCH to what
# follows `pip install` on https://pytorch.org/get-started/locally/.
FROM python:3.13-slim

ARG TORCH="torch==2.13.0"

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    D2IR_CACHE=/cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

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
