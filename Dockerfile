# Build: compiles the sources, and argon2 for processors with AVX2 (half the time per hash). Debian's packages and npm's are all it needs.
FROM node:24-bookworm-slim AS build
WORKDIR /signet
RUN apt-get update && apt-get install -y --no-install-recommends g++ make python3 && rm -rf /var/lib/apt/lists/*
COPY package.json package-lock.json .npmrc ./
# The compiler's binary for this platform is an optional package of its own; nothing of this installation is kept, so no script of it runs.
RUN npm install --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && rm -rf node_modules
ARG ARGON2_CFLAGS="-O3 -mavx2"
RUN CFLAGS="$ARGON2_CFLAGS" CXXFLAGS="$ARGON2_CFLAGS" npm_config_build_from_source=true npm install --omit=dev --omit=optional

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /signet
COPY --from=build /signet/node_modules node_modules
COPY --from=build /signet/dist dist
COPY package.json ./
COPY migrations migrations
COPY views views
USER node
EXPOSE 3000
HEALTHCHECK CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 3000) + '/health/live').then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/main.js", "serve"]
