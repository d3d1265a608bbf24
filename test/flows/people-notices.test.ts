/** What apps and people hear: sign-outs over the back channel, notices by mail, and the verbs of the command line. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createRemoteJWKSet, jwtVerify } from "jose";
import * as openid from "openid-client";
import { runCommand } from "../../src/commands.ts";
import { peopleVerbs } from "../../src/sign-ups/commands.ts";
import { atEnd, engines, eventually } from "../support.ts";
import { beginJourney, CALLBACK, type Journey, signIn, tokensOf } from "./journey.ts";
import { startMailServer } from "./mailbox.ts";

const mail = await startMailServer();

/** An app's end of the back channel: answers as told, and keeps what it was sent. */
async function relyingParty() {
  const tokens: string[] = [];
  const answers: number[] = [];
  const hits: number[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      hits.push(performance.now());
      const status = answers.shift() ?? 200;
      if (status === 0) return;
      if (status === 200) tokens.push(new URLSearchParams(body).get("logout_token") ?? "");
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    server.closeAllConnections();
    server.close();
  });
  return { tokens, answers, hits, uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/logout` };
}

async function signet(journey: Journey, ...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const io = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void err.push(text),
    readStdin: async () => "",
  };
  const group = { noun: "user", summary: "", verbs: peopleVerbs };
  const code = await runCommand(group, argv, io, (run) => run(journey.service));
  return { code, out: out.join(""), err: err.join("") };
}

for (const { engine, skip } of await engines()) {
  const begin = beginOnce(() => beginJourney(engine, { SMTP_URL: mail.url, SIGN_UP: "invitation" }));

  test(`T-OUT-5: an app that is down twice and hangs holds no page up and accepts the third logout token; the account page shows it (${engine})`, {
    skip,
  }, async () => {
    const journey = await begin();
    const app = await relyingParty();
    const told = await journey.register({
      ...{ client_type: "web", client_name: "Told App", redirect_uris: [CALLBACK], first_party: true },
      ...{ backchannel_logout_uri: app.uri, backchannel_logout_session_required: true },
    });
    const email = `bc-${engine}@new.example`;
    const userId = await journey.createUser(email);
    const browser = journey.client();
    const party = await journey.party(told);
    const tokens = await tokensOf(browser, party, { email, scope: "openid" });
    const page = await browser.get(`${journey.issuer}/account`);
    app.answers.push(503, 0);
    const began = performance.now();
    assert.equal((await browser.submit(page, {}, { match: "/account/sign-out" })).status, 303);
    assert.ok(performance.now() - began < 2500, "the page waits for nobody");
    await eventually(() => app.tokens.length === 1, 25_000);
    assert.equal(app.hits.length, 3);
    const keys = createRemoteJWKSet(new URL(`${journey.issuer}/jwks`));
    const { payload, protectedHeader } = await jwtVerify(app.tokens[0] ?? "", keys, {
      issuer: journey.issuer,
      audience: told.id,
    });
    assert.equal(protectedHeader.typ, "logout+jwt");
    assert.equal(payload.sub, userId);
    assert.equal(payload["sid"], tokens.claims()?.["sid"]);
    assert.ok("http://schemas.openid.net/event/backchannel-logout" in (payload["events"] as object));
    assert.equal(payload["nonce"], undefined);
    const [notice] = await eventually(async () => {
      const list = await journey.service.logouts.list({ userId }, 5);
      return list[0]?.state === "delivered" ? list : undefined;
    });
    assert.equal(notice?.attempts, 3);
    await signIn(browser, party, { email, scope: "openid" });
    assert.match((await browser.get(`${journey.issuer}/account`)).text, /Told App<\/bdi>: told of a sign-out/);
  });

  test(`a password change, "everywhere", disabling and RP-initiated logout tell the app, too (${engine})`, {
    skip,
  }, async () => {
    const journey = await begin();
    const app = await relyingParty();
    const told = await journey.register({
      ...{ client_type: "web", client_name: "Told App", redirect_uris: [CALLBACK], first_party: true },
      backchannel_logout_uri: app.uri,
    });
    const email = `bc2-${engine}@new.example`;
    const userId = await journey.createUser(email);
    const party = await journey.party(told);
    const by = { kind: "system" } as const;
    const { users, sessions } = journey.service;
    const browser = journey.client();
    const ends = [
      () => sessions.endAll({ userId }, by),
      () => users.setPassword(userId, "correct horse battery staple", by),
      async () => {
        const page = await browser.get(`${journey.issuer}/logout`);
        await browser.submit(page, { logout: "yes" }, { match: "xsrf" });
      },
      () => users.setDisabled(userId, true, by),
    ];
    for (const [index, end] of ends.entries()) {
      await signIn(browser, party, { email, scope: "openid" });
      await end();
      await eventually(() => app.tokens.length === index + 1, 10_000);
    }
  });

  test(`an app that was disabled or lost its address before it heard of a sign-out was not told, and nobody says it was (${engine})`, {
    skip,
  }, async () => {
    const journey = await begin();
    const app = await relyingParty();
    const { clients, logouts, sessions, db } = journey.service;
    const by = { kind: "system" } as const;
    const email = `bc3-${engine}@new.example`;
    const userId = await journey.createUser(email);
    const ways: readonly (readonly [reason: RegExp, (id: string) => Promise<unknown>])[] = [
      [/no address/, (id) => clients.update(id, { backchannel_logout_uri: null }, by)],
      [/disabled or deleted/, (id) => clients.setDisabled(id, true, by)],
    ];
    for (const [reason, leave] of ways) {
      const told = await journey.register({
        ...{ client_type: "web", client_name: "Leaving App", redirect_uris: [CALLBACK], first_party: true },
        backchannel_logout_uri: app.uri,
      });
      await signIn(journey.client(), await journey.party(told), { email, scope: "openid" });
      app.answers.push(503);
      const before = app.hits.length;
      await sessions.endAll({ userId }, by);
      await eventually(() => app.hits.length > before, 10_000);
      await leave(told.id);
      const [notice] = await eventually(async () => {
        const list = await logouts.list({ clientId: told.id }, 5);
        return list[0]?.state === "queued" ? undefined : list;
      }, 20_000);
      assert.deepEqual([notice?.state, notice?.deliveredAt], ["failed", undefined]);
      assert.match(notice?.error ?? "", reason);
      const events = await eventually(async () => {
        const rows = await db.query<{ name: string }>(
          "select name from audit_events where subject_id = $1 and name like 'logout.%'",
          [told.id],
        );
        return rows.length === 0 ? undefined : rows;
      }, 5000);
      assert.deepEqual(events, [{ name: "logout.given_up" }]);
    }
    assert.deepEqual(app.tokens, []);
  });

  test(`a code that comes twice ends what it gave, and its person is told by mail once (${engine})`, {
    skip,
  }, async () => {
    const journey = await begin();
    const email = `code-${engine}@new.example`;
    const userId = await journey.createUser(email);
    const party = await journey.party(journey.web);
    const signedIn = await signIn(journey.client(), party, { email });
    const { verifier, nonce, state } = signedIn;
    const checks = { pkceCodeVerifier: verifier, expectedNonce: nonce, expectedState: state };
    const exchange = () => openid.authorizationCodeGrant(party, signedIn.callback, checks);
    const tokens = await exchange();
    await assert.rejects(exchange);
    await assert.rejects(exchange);
    const theft = await mail.next(email, /ended for your safety/);
    assert.match(theft.text, /Harbor Notes/);
    await assert.rejects(openid.fetchUserInfo(party, tokens.access_token, openid.skipSubjectCheck));
    const raced = await signIn(journey.client(), party, { email });
    const again = { pkceCodeVerifier: raced.verifier, expectedNonce: raced.nonce, expectedState: raced.state };
    await Promise.allSettled(
      Array.from({ length: 4 }, () => openid.authorizationCodeGrant(party, raced.callback, again)),
    );
    await mail.next(email, /ended for your safety/);
    const rows = await journey.service.db.query<{ address: string | null }>(
      "select distinct subject_id, address from audit_events where name = 'code.reuse_detected' and actor_id = $1",
      [journey.web.id],
    );
    assert.equal(rows.length, 2, "each names the Grant that it ended, and where it came from");
    for (const row of rows) assert.equal(row.address, "127.0.0.1");
    const mails = await journey.service.db.query(
      "select 1 from mails where template = 'token_theft' and user_id = $1",
      [userId],
    );
    assert.equal(mails.length, 2, "one Grant, one mail, however often the code comes");
  });

  test(`offline access and a replayed refresh token are told by mail, and "this was not me" ends everything (${engine})`, {
    skip,
  }, async () => {
    const journey = await begin();
    const email = `theft-${engine}@new.example`;
    const userId = await journey.createUser(email);
    const client = await journey.register({
      ...{ client_type: "web", client_name: "Quick App", redirect_uris: [CALLBACK], refresh_window: 0 },
    });
    const party = await journey.party(client);
    const browser = journey.client();
    const tokens = await tokensOf(browser, party, {
      email,
      scope: "openid offline_access",
      parameters: { prompt: "consent" },
    });
    const offline = await mail.next(email, /keeps access/);
    assert.match(offline.text, /Quick App/);
    await openid.refreshTokenGrant(party, tokens.refresh_token ?? "");
    await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""));
    await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""));
    await mail.next(email, /ended for your safety/);
    const page = await browser.get(offline.undo);
    assert.equal((await browser.submit(page, {})).status, 200);
    assert.equal((await browser.get(offline.undo)).status, 404);
    assert.equal((await journey.service.users.find(userId))?.hasPassword, false);
    await mail.next(email, /Set a new password/);
    assert.match((await browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
  });

  test(`T-REG-6: by invitation alone: no other path makes an account; the verbs invite, reset, end, revoke and delete (${engine})`, {
    skip,
  }, async () => {
    const journey = await begin();
    const guest = `guest-${engine}@new.example`;
    const stranger = journey.client();
    assert.equal((await stranger.get(`${journey.issuer}/signup`)).status, 404);
    assert.equal((await stranger.get(`${journey.issuer}/signup?invitation=${"x".repeat(43)}`)).status, 404);
    const begun = await stranger.follow(await stranger.get(`${journey.issuer}/account/sign-in`));
    const uid = /\/interaction\/([\w-]+)\//.exec(begun.text)?.[1] ?? "";
    const csrf = /name="csrf" value="([^"]+)"/.exec(begun.text)?.[1] ?? "";
    const fields = { csrf, email: guest, password: "seven quiet harbours wait" };
    assert.equal((await stranger.get(`${journey.issuer}/interaction/${uid}/signup`)).status, 404);
    assert.equal((await stranger.post(`${journey.issuer}/interaction/${uid}/signup`, fields)).status, 404);

    assert.equal((await signet(journey, "invite", guest, "--json")).code, 0);
    const { link } = await mail.next(guest);
    const browser = journey.client();
    const form = await browser.follow(await browser.get(link));
    assert.ok(form.text.includes(guest));
    const done = await browser.follow(
      await browser.submit(form, { password: "seven quiet harbours wait" }, { match: 'name="password"' }),
    );
    assert.match(done.text, new RegExp(guest));
    const user = await journey.service.users.findByEmail(guest);
    assert.equal(user?.isEmailVerified, true);
    assert.equal((await journey.client().get(link)).status, 404, "the invitation is used up");
    assert.equal((await signet(journey, "invite", guest)).code, 1);

    assert.equal((await signet(journey, "end-sessions", guest)).code, 0);
    assert.match((await browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
    assert.equal((await signet(journey, "revoke-app", guest, journey.web.id)).code, 0);
    assert.equal((await signet(journey, "reset-password", guest)).code, 0);
    assert.match((await mail.next(guest, /Set a new/)).link, /\/recover\//);
    assert.equal((await journey.service.users.findByEmail(guest))?.hasPassword, false);
    assert.equal((await signet(journey, "delete", guest)).code, 2);
    assert.equal((await signet(journey, "delete", guest, "--yes")).code, 0);
    assert.equal(await journey.service.users.findByEmail(guest), undefined);
    const events = await journey.service.db.query<{ name: string }>(
      "select name from audit_events where actor_kind = 'command'",
    );
    for (const name of [
      "user.invited",
      "user.sessions_ended",
      "consent.withdrawn",
      "user.password_forced",
      "user.deleted",
    ])
      assert.ok(
        events.some((event) => event.name === name),
        name,
      );
  });
}

function beginOnce(open: () => Promise<Journey>): () => Promise<Journey> {
  let opened: Promise<Journey> | undefined;
  return () => {
    opened ??= open();
    return opened;
  };
}
