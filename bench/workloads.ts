/** The operations that are measured, each as one user's step over HTTP; every answer is checked. */
import { createHash, randomBytes } from "node:crypto";
import { type Answer, Connection, type Step } from "./load.ts";
import { API, CALLBACK, PASSWORD } from "./names.ts";
import type { Credentials, Target } from "./target.ts";

/** What goal P5 counts with, too; a nonce of 43 characters. */
const SCOPE = "openid profile email offline_access";
const FORM = "application/x-www-form-urlencoded";
const STEPS_MAX = 12;

export interface Workload {
  readonly name: string;
  /** HTTP requests of one operation. */
  readonly trips: number;
  readonly users: number;
  readonly pauseMs?: number;
  /** Before the first slice; fewer where one operation takes long. */
  readonly warmUpOperations?: number;
  prepare(target: Target, user: number): Promise<Step>;
}

export interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly idToken: string;
}

let addresses = 0;
/** Every sign-in comes from an address of its own (RFC 2544's network), since the limits are on. */
function nextAddress(): string {
  addresses += 1;
  return `198.18.${(addresses >> 8) & 255}.${addresses & 255}`;
}

function connectionTo(target: Target): Connection {
  return new Connection(target.port, { ...target.headers, "x-forwarded-for": nextAddress() });
}

function basic({ id, secret }: Credentials): string {
  const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

function post(path: string, client: Credentials, fields: Readonly<Record<string, string>>) {
  const headers = { authorization: basic(client), "content-type": FORM };
  return { method: "POST", path, headers, body: new URLSearchParams(fields).toString() } as const;
}

function expect(isRight: boolean, what: string, answer: Answer): void {
  if (!isRight) throw new Error(`${what}: ${answer.status} ${answer.location ?? ""} ${answer.body.slice(0, 300)}`);
}

export function clientCredentials(kind: "jwt" | "opaque"): Workload {
  return {
    name: `client credentials, ${kind === "jwt" ? "ES256 JWT" : "opaque"}`,
    trips: 1,
    users: 8,
    async prepare(target) {
      const connection = connectionTo(target);
      const more: Record<string, string> = kind === "jwt" ? { scope: "read:things", resource: API } : {};
      const request = post("/token", target.machine, { grant_type: "client_credentials", ...more });
      const shape = kind === "jwt" ? /"access_token":"ey[\w-]+\.[\w-]+\.[\w-]+"/ : /"access_token":"[\w-]{20,}"/;
      return async () => {
        const answer = await connection.send(request);
        expect(answer.status === 200 && shape.test(answer.body), "client credentials", answer);
      };
    },
  };
}

export const refresh: Workload = {
  name: "refresh with rotation, RS256 ID token",
  trips: 1,
  users: 8,
  async prepare(target, user) {
    const connection = connectionTo(target);
    let token = (await login(target, user)).refreshToken;
    return async () => {
      const answer = await connection.send(
        post("/token", target.web, { grant_type: "refresh_token", refresh_token: token }),
      );
      expect(answer.status === 200, "refresh", answer);
      const tokens = parseTokens(answer);
      expect(tokens.refreshToken !== token && tokens.idToken !== "", "the token was not rotated", answer);
      token = tokens.refreshToken;
    };
  },
};

export const fullLogin: Workload = {
  name: "full login, 8 HTTP trips",
  trips: 8,
  users: 4,
  warmUpOperations: 200,
  prepare: async (target, user) => async () => void (await login(target, user)),
};

export const hashAlone: Workload = {
  name: "one hash",
  trips: 1,
  users: 4,
  warmUpOperations: 20,
  async prepare(target) {
    const connection = connectionTo(target);
    return async () => {
      const answer = await connection.send({ method: "POST", path: "/hash", body: "" });
      expect(answer.status === 200, "hash", answer);
    };
  },
};

export const introspection: Workload = {
  name: "introspection",
  trips: 1,
  users: 8,
  async prepare(target, user) {
    const connection = connectionTo(target);
    const { accessToken } = await login(target, user);
    const request = post("/introspect", target.web, { token: accessToken });
    return async () => {
      const answer = await connection.send(request);
      expect(answer.status === 200 && answer.body.includes('"active":true'), "introspection", answer);
    };
  },
};

/** A service's JWT, asked about by a client that an administrator allowed: the signature is checked and the store is asked what ended it. */
export const jwtIntrospection: Workload = {
  name: "introspection of a JWT",
  trips: 1,
  users: 8,
  async prepare(target) {
    const connection = connectionTo(target);
    const fields = { grant_type: "client_credentials", scope: "read:things", resource: API };
    const issued = await connection.send(post("/token", target.machine, fields));
    expect(issued.status === 200, "client credentials", issued);
    const request = post("/introspect", target.machine, { token: parseTokens(issued).accessToken });
    return async () => {
      const answer = await connection.send(request);
      expect(answer.status === 200 && answer.body.includes('"active":true'), "introspection of a JWT", answer);
    };
  },
};

export const userinfo: Workload = {
  name: "userinfo",
  trips: 1,
  users: 8,
  async prepare(target, user) {
    const connection = connectionTo(target);
    const { accessToken } = await login(target, user);
    const request = { method: "GET", path: "/userinfo", headers: { authorization: `Bearer ${accessToken}` } } as const;
    return async () => {
      const answer = await connection.send(request);
      expect(answer.status === 200 && answer.body.includes('"sub"'), "userinfo", answer);
    };
  },
};

/** So cheap that users pause: server and static control are then asked at the same rate, and the generator keeps up. */
export function document(name: string, path: string): Workload {
  return {
    name,
    trips: 1,
    users: 8,
    pauseMs: 1,
    async prepare(target) {
      const connection = connectionTo(target);
      return async () => {
        const answer = await connection.send({ method: "GET", path });
        expect(answer.status === 200 && answer.body.startsWith("{"), name, answer);
      };
    },
  };
}

export const DISCOVERY_PATH = "/.well-known/openid-configuration";
export const JWKS_PATH = "/jwks";

// --- The sign-in of a browser ----------------------------------------------------------------------------------------

/** From the authorization request to the tokens, through the real pages, in a browser that knows nothing yet. */
export async function login(target: Target, user: number): Promise<Tokens> {
  const connection = connectionTo(target);
  const jar = new Map<string, { value: string; path: string }>();
  const verifier = randomBytes(32).toString("base64url");
  const parameters = new URLSearchParams({
    client_id: target.web.id,
    response_type: "code",
    redirect_uri: CALLBACK,
    scope: SCOPE,
    prompt: "consent",
    state: randomBytes(16).toString("base64url"),
    nonce: randomBytes(32).toString("base64url"),
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  try {
    let path = `/authorize?${parameters}`;
    let answer = await visit(connection, jar, { method: "GET", path });
    for (let steps = 0; steps < STEPS_MAX; steps += 1) {
      if (answer.location?.startsWith(CALLBACK)) break;
      if (answer.location !== undefined) {
        path = pathOf(answer.location, target);
        answer = await visit(connection, jar, { method: "GET", path });
        continue;
      }
      expect(answer.status === 200, "a page of the sign-in", answer);
      const form = answer.body.includes('name="password"')
        ? formOf(answer.body, 'name="password"', { email: target.email(user), password: PASSWORD })
        : formOf(answer.body, 'value="allow"', { decision: "allow" });
      const headers = { "content-type": FORM, origin: target.issuer, "sec-fetch-site": "same-origin" };
      answer = await visit(connection, jar, {
        method: "POST",
        path: pathOf(form.action, target),
        headers,
        body: form.body,
      });
    }
    const code = new URL(answer.location ?? "http://none").searchParams.get("code");
    expect(code !== null, "the sign-in gave no code", answer);
    const fields = {
      grant_type: "authorization_code",
      code: code ?? "",
      redirect_uri: CALLBACK,
      code_verifier: verifier,
    };
    const tokens = await connection.send(post("/token", target.web, fields));
    expect(tokens.status === 200, "the code", tokens);
    return parseTokens(tokens);
  } finally {
    connection.close();
  }
}

async function visit(
  connection: Connection,
  jar: Map<string, { value: string; path: string }>,
  request: Parameters<Connection["send"]>[0],
): Promise<Answer> {
  const target = request.path.split("?")[0] ?? "";
  const sent = [...jar].filter(([, { path }]) => target.startsWith(path));
  const cookie = sent.map(([key, { value }]) => `${key.split(";")[0]}=${value}`).join("; ");
  const headers = { accept: "text/html", ...(cookie === "" ? {} : { cookie }), ...request.headers };
  const answer = await connection.send({ ...request, headers });
  for (const header of answer.cookies) {
    const [pair = "", ...attributes] = header.split("; ");
    const at = pair.indexOf("=");
    const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? "/";
    const key = `${pair.slice(0, at)};${path}`;
    if (/expires=Thu, 01 Jan 1970/i.test(header)) jar.delete(key);
    else jar.set(key, { value: pair.slice(at + 1), path });
  }
  return answer;
}

function pathOf(location: string, target: Target): string {
  const url = new URL(location, target.issuer);
  return url.pathname + url.search;
}

function formOf(
  html: string,
  marker: string,
  typed: Readonly<Record<string, string>>,
): { action: string; body: string } {
  const form = html.split("<form").find((part) => part.includes(marker));
  if (form === undefined) throw new Error(`no form with ${marker}`);
  const fields = new URLSearchParams();
  for (const [tag] of form.split("</form>")[0]?.matchAll(/<input[^>]*>/g) ?? []) {
    const name = attribute(tag, "name");
    if (attribute(tag, "type") === "hidden" && name !== undefined) fields.set(name, attribute(tag, "value") ?? "");
  }
  for (const [name, value] of Object.entries(typed)) fields.set(name, value);
  return { action: attribute(form, "action") ?? "", body: fields.toString() };
}

function attribute(tag: string, name: string): string | undefined {
  return new RegExp(`[\\s]${name}="([^"]*)"`).exec(tag)?.[1]?.replaceAll("&amp;", "&");
}

function parseTokens({ body }: Answer): Tokens {
  const json = JSON.parse(body) as Record<string, unknown>;
  const text = (name: string): string => String(json[name] ?? "");
  return { accessToken: text("access_token"), refreshToken: text("refresh_token"), idToken: text("id_token") };
}
