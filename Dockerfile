# syntax=docker/dockerfile:1
# Baton as one static binary in an otherwise empty image.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src/baton
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH TARGETVARIANT VERSION=container OUT=/out
# .ci/run runs the next line as it stands here, outside of a container: keep it one line.
RUN CGO_ENABLED=0 GOOS="$TARGETOS" GOARCH="$TARGETARCH" GOARM="${TARGETVARIANT#v}" go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$VERSION" -o "$OUT/baton" ./cmd/baton
# A volume takes its first owner from the image: the folder must belong to the user below.
# Scripts and test suites call RabbitMQ's tools; the binary answers to their names through the socket in /run/baton.
RUN mkdir -p /root-of-image/data /root-of-image/run/baton /root-of-image/usr/local/bin \
 && for tool in rabbitmqctl rabbitmq-diagnostics rabbitmq-plugins rabbitmq-upgrade rabbitmqadmin; do ln -s /baton /root-of-image/usr/local/bin/$tool; done

FROM scratch
COPY --from=build /out/baton /baton
COPY --from=build --chown=65532:65532 /root-of-image/ /
USER 65532:65532
VOLUME /data
# AMQP · admin (health, metrics, profiles) · metrics alone
EXPOSE 1883 5672 15672 15675 15692
# Live, not ready: a standby that waits for the baton is a healthy container. The check asks the address that
# BATON_ADMIN_LISTEN, or the file that BATON_CONFIG names, sets; it does not know the flags of the command below.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/baton", "health"]
ENTRYPOINT ["/baton"]
CMD ["serve", "--data", "/data"]
