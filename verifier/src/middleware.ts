/** Middleware for Express, Fastify and Koa. None of them is a dependency: what is used of their requests and answers is named here. */
import { Refusal } from "./refusal.ts";
import type { AccessToken, Needs, Verifier } from "./verifier.ts";

interface Request {
  readonly headers: { readonly authorization?: string | undefined };
}

interface ExpressResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  end(body: string): unknown;
}

interface FastifyReply {
  code(status: number): unknown;
  header(name: string, value: string): unknown;
  send(body: unknown): unknown;
}

interface KoaContext {
  readonly req: Request;
  status: number;
  body: unknown;
  readonly state: Record<string, unknown>;
  set(name: string, value: string): void;
}

/** The token is in `request.auth` afterwards. */
export function expressAuth(verifier: Verifier, needs: Needs = {}) {
  return (
    request: Request & { auth?: AccessToken },
    response: ExpressResponse,
    next: (error?: unknown) => void,
  ): void => {
    authorize(verifier, request, needs).then((outcome) => {
      if (!(outcome instanceof Refusal)) {
        request.auth = outcome;
        next();
        return;
      }
      response.statusCode = outcome.status;
      for (const [name, value] of Object.entries(outcome.headers(verifier.audience))) response.setHeader(name, value);
      response.end(JSON.stringify(outcome.body()));
    }, next);
  };
}

/** A hook for `onRequest` or `preHandler`; the token is in `request.auth` afterwards. */
export function fastifyAuth(verifier: Verifier, needs: Needs = {}) {
  return async (request: Request & { auth?: AccessToken }, reply: FastifyReply): Promise<unknown> => {
    const outcome = await authorize(verifier, request, needs);
    if (!(outcome instanceof Refusal)) {
      request.auth = outcome;
      return undefined;
    }
    reply.code(outcome.status);
    for (const [name, value] of Object.entries(outcome.headers(verifier.audience))) reply.header(name, value);
    return reply.send(outcome.body());
  };
}

/** The token is in `ctx.state.auth` afterwards. */
export function koaAuth(verifier: Verifier, needs: Needs = {}) {
  return async (ctx: KoaContext, next: () => Promise<unknown>): Promise<void> => {
    const outcome = await authorize(verifier, ctx.req, needs);
    if (!(outcome instanceof Refusal)) {
      ctx.state["auth"] = outcome;
      await next();
      return;
    }
    ctx.status = outcome.status;
    for (const [name, value] of Object.entries(outcome.headers(verifier.audience))) ctx.set(name, value);
    ctx.body = outcome.body();
  };
}

/** Refusals are answers; everything else is the framework's to handle. */
async function authorize(verifier: Verifier, request: Request, needs: Needs): Promise<AccessToken | Refusal> {
  try {
    return await verifier.authorize(request.headers.authorization, needs);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
