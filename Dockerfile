FROM python:3.13.14-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6 AS wheel
WORKDIR /source
# Rust compiles the native core; nothing of it is shipped.
RUN apt-get update && apt-get install --yes --no-install-recommends cargo gcc libc6-dev
COPY .constraints/build.txt ./
RUN python -m venv build && build/bin/python -m pip install \
    --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY native native
# Where CI is set, a core that cannot be built is an error.
RUN CI=true build/bin/python -m pip wheel \
    --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir wheels .

FROM python:3.13.14-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6 AS builder
WORKDIR /build
# The extra risk brings NumPy: docker build --build-arg EXTRA=risk .
ARG EXTRA=
COPY .constraints/runtime.txt .constraints/risk.txt ./
# Every downloaded file is compared with its hash. Pip stays outside the environment that is shipped.
RUN python -m venv --without-pip /opt/marketdata-exporter
RUN python -m pip --python /opt/marketdata-exporter install \
    --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r runtime.txt ${EXTRA:+-r $EXTRA.txt}
COPY --from=wheel /source/wheels wheels
RUN python -m pip --python /opt/marketdata-exporter install \
    --no-cache-dir --disable-pip-version-check --no-index --no-deps wheels/*.whl

# The bill of materials, of the very files that are shipped: docker build --target sbom --output dist .
FROM builder AS bill
COPY .constraints/tools.txt .constraints/image_sbom.py ./
RUN python -m venv tools && tools/bin/python -m pip install \
    --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r tools.txt
RUN tools/bin/cyclonedx-py environment --output-reproducible --output-file environment.json /opt/marketdata-exporter \
    && python image_sbom.py environment.json > sbom.cdx.json

FROM scratch AS sbom
COPY --from=bill /build/sbom.cdx.json /

FROM python:3.13.14-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="marketdata-exporter" \
      org.opencontainers.image.description="Turns batches of market data on Kafka into Prometheus metrics and Avro monitoring events" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=builder /opt/marketdata-exporter /opt/marketdata-exporter
COPY --from=bill /build/sbom.cdx.json /usr/share/sbom/marketdata-exporter.cdx.json
# Nothing is written, so the root file system may be read-only.
ENV PATH="/opt/marketdata-exporter/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["marketdata-exporter", "healthcheck"]
ENTRYPOINT ["marketdata-exporter"]
CMD ["run"]
