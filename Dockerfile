# An image for CPUs that runs the demo:
#   docker build -t skill-embed .
#   docker run --rm -v "$PWD/runs:/runs" skill-embed
# Any other command: docker run --rm -v "$PWD/runs:/runs" skill-embed play lwall --out /runs/lwall.mp4
FROM python:3.12-slim

# EGL draws without a display. To compile the arm's updates, add g++.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri \
    && rm -rf /var/lib/apt/lists/*

# PyTorch's build for CPUs, which is a third of the usual one. It is a layer of its own, so that it is kept.
RUN pip install --no-cache-dir "torch>=2.4" --index-url https://download.pytorch.org/whl/cpu

COPY . /source
RUN pip install --no-cache-dir /source && rm -rf /source

VOLUME /runs
ENTRYPOINT ["skill-embed"]
CMD ["demo", "--out", "/runs/demo"]
