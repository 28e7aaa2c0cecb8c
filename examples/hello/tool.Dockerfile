ARG REGISTRY=127.0.0.1:5000

# The machine's own platform: the three images share this stage, so it runs once and without emulation.
FROM --platform=${BUILDPLATFORM} ${REGISTRY}/base/busybox:1.35 AS words
RUN seq 1 1000 | tac > /numbers
RUN sha256sum /numbers > /numbers.sum

FROM ${REGISTRY}/base/busybox:1.35
COPY --from=words /numbers /numbers.sum /
# Foreign binaries check what the native stage wrote.
RUN sha256sum -c /numbers.sum
CMD ["tail", "-n", "1", "/numbers"]
