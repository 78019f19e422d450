# The master, with humeconfig for the first set-up and humequery to ask from inside.
# Build from the root of the repository: docker build -f docker/master.Dockerfile -t hume-master .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p humed-master -p humequery -p humeconfig

FROM debian:12-slim
RUN groupadd --system --gid 990 hume \
    && useradd --system --uid 990 --gid hume --home-dir /site --no-create-home --shell /usr/sbin/nologin hume \
    && install -d -o hume -g hume -m 0700 /site
COPY --from=build /src/target/release/humed-master /usr/local/sbin/
COPY --from=build /src/target/release/humequery /src/target/release/humeconfig /usr/local/bin/
USER hume
# master.toml, the CA, the certificate and the store: all that must survive the container.
VOLUME /site
EXPOSE 4863 4864
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/sbin/humed-master"]
CMD ["--config", "/site/master.toml"]
