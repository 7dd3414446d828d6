# One image for every process of a run; what a container does is its command: docker run IMAGE flow run summarize ...
FROM python:3.11.14-slim-bookworm

# torch from the index below needs no GPU and none of the CUDA libraries. For a GPU, give --build-arg TORCH_INDEX the index
# that pip asks by default, and the container the device. constraints.txt fixes the version of either.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/dynmm

COPY constraints.txt ./
RUN pip install --no-deps --index-url "${TORCH_INDEX}" "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml README.md LICENSE ./
COPY dynmm_core ./dynmm_core
COPY flows ./flows
COPY replay ./replay
COPY simulators ./simulators
COPY benchmarks ./benchmarks
RUN pip install --constraint constraints.txt .

# Volumes take owner and mode from these folders. Recovery holds users' items: nobody else may look into it.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin dynmm \
    && install --directory --owner dynmm --group dynmm --mode 0700 /var/lib/dynmm /var/lib/dynmm/recovery /var/lib/dynmm/runs
USER 10001:10001
WORKDIR /var/lib/dynmm

# The port is that of [observe] for process 0; another process brings a check of its own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-m", "flows.observe.probe", "9464"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["dynmm"]
