# syntax=docker/dockerfile:1
# The images of server and operator, from a fresh clone, by BuildKit (Docker 23 has it unless it is told otherwise; before, DOCKER_BUILDKIT=1):
#   docker build --target server -t chatcluster-server:0.1.0 .
#   docker build --target operator -t chatcluster-operator:0.1.0 .
# Each is one static program in an empty root, which runs as a user without a name. There is no shell in them.

# The page; it is put into the server's program.
FROM node:22-bookworm-slim AS page
WORKDIR /src/server/web
COPY server/web/package.json server/web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY server/web ./
RUN npm run build

# Rust's version is that of rust-toolchain.toml, whose other components are of no use here. The C compiler is for SQLite, ring
# and the allocator. On Alpine Rust links programs statically.
FROM rust:1.95.0-alpine AS build
RUN apk add --no-cache build-base ca-certificates
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY bench bench
COPY crates crates
COPY operator operator
COPY server server
COPY tests/harness tests/harness
COPY tests/integration tests/integration

# One package at a time: together they would be built with each other's features. What was built before is kept between builds, also of other clones, and cargo
# tells by the time of a file whether it has changed: files of an older clone must not pass for those that were built.
FROM build AS build-server
COPY --from=page /src/server/web/dist server/web/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=server-target \
    find Cargo.toml bench crates operator server tests -type f -exec touch {} + \
    && cargo build --release --locked --package chatcluster-server --bin chatcluster-server \
    && install -D -s target/release/chatcluster-server /image/chatcluster-server \
    && install -d -o 65532 -g 65532 /image/var/lib/chatcluster

FROM build AS build-operator
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=operator-target \
    find Cargo.toml bench crates operator server tests -type f -exec touch {} + \
    && cargo build --release --locked --package chatcluster-operator --bin chatcluster-operator \
    && install -D -s target/release/chatcluster-operator /image/chatcluster-operator

FROM scratch AS operator
LABEL org.opencontainers.image.title="chatcluster-operator" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-operator /image/chatcluster-operator /chatcluster-operator
ENV PATH=/
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/chatcluster-operator"]

# Last: what `docker build .` makes.
FROM scratch AS server
LABEL org.opencontainers.image.title="chatcluster-server" org.opencontainers.image.licenses="Apache-2.0"
# For `tls://` addresses of NATS without `tls.caFile`.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build-server /image/chatcluster-server /chatcluster-server
# A pod mounts its own volume here, and its root cannot be written.
COPY --from=build-server --chown=65532:65532 /image/var/lib/chatcluster /var/lib/chatcluster
# The preStop hook of pods is `chatcluster-server drain`, without a path.
ENV PATH=/
USER 65532:65532
WORKDIR /var/lib/chatcluster
EXPOSE 3000 3001 9090
ENTRYPOINT ["/chatcluster-server"]
# Alone, with its history in ./data; the operator gives other arguments.
CMD ["--listen", "0.0.0.0:3000", "--admin-listen", "0.0.0.0:9090"]
