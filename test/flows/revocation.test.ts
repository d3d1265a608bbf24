/** What ends what, over HTTP, with two processes: from the next request on nothing works that was ended, at either of them, by whichever way it was ended. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { engines, eventually } from "../support.ts";
import { basic } from "./faults.ts";
import { CALLBACK } from "./journey.ts";
import {
  command,
  type Held,
  hold,
  introspect,
  mustBeDead,
  mustWork,
  openPair,
  type Pair,
  refresh,
  userinfo,
} from "./revoked-ground.ts";

const BY = { kind: "system", id: "test" } as const;
const ROUNDS = 5;
const NEW_PASSWORD = "a fresh and long enough phrase";

for (const { engine, skip } of await engines()) {
  // Opened by the first test of its engine, so that not all processes begin at once.
  let opened: Promise<Pair> | undefined;
  const pair = (): Promise<Pair> => {
    opened ??= openPair(engine);
    return opened;
  };
  const aClient = async (name: string) =>
    (await pair()).register({ client_type: "web", client_name: name, redirect_uris: [CALLBACK] });

  test(`T-SESS-5: a user disabled on the command line is dead everywhere from the next request on, offline access too, and stays so (${engine})`, {
    skip,
  }, async () => {
    const here = await pair();
    const email = "disabled@lindqvist.example";
    await here.createUser(email);
    const tied = await hold(here, here.web, { email });
    const offline = await hold(here, await aClient("Offline"), { email, isOffline: true });
    const other = await hold(here, here.web);
    assert.equal((await command(here, "user", "disable", email))["disabled"], true);
    for (const held of [tied, offline]) await mustBeDead(here, held, { isSignedOut: true });
    assert.equal((await tied.browser.get("/account")).text.includes(email), false);
    await command(here, "user", "enable", email);
    for (const held of [tied, offline]) await mustBeDead(here, held, { isSignedOut: true });
    await mustWork(here, await hold(here, here.web, { email }));
    await mustWork(here, other);
  });

  test(`a new password ends what was signed in with the old one, and is good at once (${engine})`, {
    skip,
  }, async () => {
    const here = await pair();
    const email = "changed@lindqvist.example";
    const id = await here.createUser(email);
    const [tied, offline] = [
      await hold(here, here.web, { email }),
      await hold(here, here.web, { email, isOffline: true }),
    ];
    await here.service.users.setPassword(id, NEW_PASSWORD, BY);
    const fresh = await hold(here, here.web, { email, password: NEW_PASSWORD });
    for (const held of [tied, offline]) await mustBeDead(here, held, { isSignedOut: true });
    await mustWork(here, fresh);
    await here.service.revocations.end({ kind: "user", id });
    await mustBeDead(here, fresh, { isSignedOut: true });
  });

  test(`T-SESS-6: a disabled client gets 401 everywhere within a second, and what was issued to it stays dead when it is enabled again (${engine})`, {
    skip,
  }, async () => {
    const here = await pair();
    const client = await aClient("Disabled");
    const held = await hold(here, client, { isOffline: true });
    const other = await hold(here, here.web, { browser: held.browser });
    await command(here, "client", "disable", client.id);
    await mustBeDead(here, held, { isSignedOut: false, isClientGone: true });
    for (const at of here.both) {
      await eventually(async () => (await refresh(at, held)).status === 401, 1000);
      await eventually(async () => (await introspect(at, held, held.accessToken)).status === 401, 1000);
    }
    await mustWork(here, other);
    await command(here, "client", "enable", client.id);
    for (const at of here.both) await eventually(async () => (await refresh(at, held)).status === 400, 2000);
    await mustBeDead(here, held, { isSignedOut: false });
    // The person was signed in all the time: the app works again without a password.
    await mustWork(here, await hold(here, client, { browser: held.browser }));
  });

  test(`a deleted client has no working token left (${engine})`, { skip }, async () => {
    const here = await pair();
    const client = await aClient("Deleted");
    const held = await hold(here, client, { isOffline: true });
    await here.service.clients.delete(client.id, BY);
    await mustBeDead(here, held, { isSignedOut: false, isClientGone: true });
  });

  test(`signing out in the browser ends its session and what is bound to it, not offline access (${engine})`, {
    skip,
  }, async () => {
    const here = await pair();
    const tied = await hold(here, here.web);
    const offline = await hold(here, await aClient("Absent"), { isOffline: true, browser: tied.browser });
    const cookies = new Map(tied.browser.cookies);
    const page = await tied.browser.get("/account");
    await tied.browser.submit(page, {}, { match: "/account/sign-out" });
    // Whoever kept the cookie has nothing.
    for (const { name, value, path } of cookies.values()) tied.browser.setCookie(`${name}=${value}; Path=${path}`);
    await mustBeDead(here, tied, { isSignedOut: true });
    await mustWork(here, offline);
  });

  test(`T-RACE-7: a revocation and a refresh at two processes at once leave nothing that works, ${ROUNDS} times (${engine})`, {
    skip,
  }, async () => {
    const here = await pair();
    const [first, second] = here.both;
    for (let round = 0; round < ROUNDS; round += 1) {
      const held = await hold(here, here.web, { isOffline: round % 2 === 0 });
      const revoking = first.client().post("/revoke", { token: held.refreshToken }, basic(here.web));
      const [revoked, refreshed] = await Promise.all([revoking, refresh(second, held)]);
      assert.equal(revoked.status, 200, revoked.text);
      await mustBeDead(here, held, { isSignedOut: false });
      if (refreshed.status !== 200) continue;
      const { access_token: accessToken, refresh_token: refreshToken } = refreshed.json();
      const won: Held = { ...held, accessToken: String(accessToken), refreshToken: String(refreshToken) };
      await mustBeDead(here, won, { isSignedOut: false });
    }
  });

  test(`revoking an access token ends it alone (${engine})`, { skip }, async () => {
    const here = await pair();
    const held = await hold(here, here.web);
    const { accessToken } = held;
    assert.equal((await here.client().post("/revoke", { token: accessToken }, basic(here.web))).status, 200);
    for (const at of here.both) assert.equal((await userinfo(at, { ...held, accessToken })).status, 401);
    await mustWork(here, held);
  });

  test(`nothing in Postgres names a grant or a session that was ended (${engine})`, { skip }, async () => {
    const here = await pair();
    const held = await hold(here, here.web);
    const [session] = await here.service.grants.sessions.list({ userId: here.userId }, 1);
    const [grant] = await here.service.grants.listGrants({ userId: here.userId }, 1);
    assert.ok(session !== undefined && grant !== undefined);
    await here.service.revocations.end({ kind: "session", id: session.uid });
    await here.client().post("/revoke", { token: held.refreshToken }, basic(here.web));
    const rows = await here.service.db.query<{ row: string }>("select row_to_json(r)::text as row from revocations r");
    assert.ok(rows.length > 0);
    const grantIds = Object.values(session.authorizations).map(({ grantId }) => String(grantId));
    for (const { row } of rows) {
      for (const secret of [session.uid, ...grantIds]) assert.equal(row.includes(secret), false);
    }
  });
}
