# The agent of one host, with hume to report and humequery to ask it.
# Build from the root of the repository: docker build -f docker/agent.Dockerfile -t hume-agent .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo xtask dist

FROM debian:12-slim
RUN groupadd --system --gid 990 hume \
    && useradd --system --uid 990 --gid hume --home-dir /site --no-create-home --shell /usr/sbin/nologin hume \
    && install -d -o hume -g hume -m 0755 /site
COPY --from=build /src/target/dist/bin/humed-agent /usr/local/sbin/
COPY --from=build /src/target/dist/bin/hume /src/target/dist/bin/humequery /usr/local/bin/
ENV HUME_SOCKET=/site/run/hume.sock HUME_DROP_DIR=/site/drop
USER hume
# agent.toml, the certificate, the spool, the drop folder and the sockets, as `humeconfig agent` lays them out.
VOLUME /site
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/sbin/humed-agent"]
CMD ["--config", "/site/agent.toml"]
