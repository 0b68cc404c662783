FROM python:3.13.14-slim AS builder
WORKDIR /build
COPY .constraints/constraints.txt pyproject.toml README.md LICENSE ./
COPY exporter exporter
# pip stays outside the environment that is shipped.
RUN python -m venv --without-pip /opt/marketdata-exporter
RUN python -m pip --python /opt/marketdata-exporter install \
    --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM python:3.13.14-slim
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
