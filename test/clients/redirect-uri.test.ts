/** Redirect URIs, web origins and other URLs of a client: what may be registered (RFC 8252, RFC 6749 section 3.1.2). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { keysUrlFault, pageUrlFault, redirectUriFault, webOriginFault } from "../../src/clients/redirect-uri.ts";

const web = { isNative: false, isDevelopment: false };
const native = { isNative: true, isDevelopment: false };
const development = { isNative: false, isDevelopment: true };

const acceptedWeb = [
  "https://rp.example.com",
  "https://rp.example.com/",
  "https://rp.example.com/cb",
  "https://rp.example.com/cb/",
  "https://rp.example.com:8443/cb",
  "https://rp.example.com/CB/Case",
  "https://rp.example.com/cb?tenant=7&dummy2=ipsum",
  "https://rp.example.com/@user/cb",
  "https://rp.example.com/a%20b/cb",
  "https://rp.example.com/cb;v=1",
  "https://xn--e1afmkfd.example/cb",
  "https://intranet/cb",
  "https://[2001:db8::1]/cb",
];
for (const uri of acceptedWeb) {
  test(`a web client may register ${uri}`, () => assert.equal(redirectUriFault(uri, web), undefined));
}

const refusedEverywhere: readonly (readonly [string, RegExp])[] = [
  ["https://rp.example.com/cb#x", /fragment/],
  ["https://rp.example.com/cb#", /fragment/],
  ["com.example.app:/cb#x", /fragment/],
  ["HTTPS://rp.example.com/cb", /lower case/],
  ["Com.Example.App:/cb", /lower case/],
  ["https://RP.example.com/cb", /normal form/],
  ["https://rp.example.com:443/cb", /normal form/],
  ["https://rp.example.com:/cb", /normal form/],
  ["https://rp.example.com/x/../cb", /normal form/],
  ["https://rp.example.com/./cb", /normal form/],
  ["https://rp.example.com/x/%2e%2e/cb", /normal form/],
  ["https://rp.example.com/cb/..;/evil", /dot segment/],
  ["https://rp.example.com/cb/.;x/evil", /dot segment/],
  ["https://rp.example.com/cb%2f..%2fx", /encoded slash/],
  ["https://rp.example.com/cb%5c..%5cx", /encoded slash/],
  ["https://rp.example.com/cb%252f..%252fx", /encoded/],
  ["https://rp.example.com/cb%00", /encoded/],
  ["https://rp.example.com/cb%0d%0aSet-Cookie:x", /encoded/],
  ["https://rp.example.com/cb?x=%0d%0a", /control character/],
  ["https://rp.example.com/cb%zz", /percent-encoding/],
  ["https://rp.example.com/cb?x=%", /percent-encoding/],
  ["https://rp.example.com//evil.example/cb", /two slashes/],
  ["https://user@rp.example.com/cb", /user name/],
  ["https://user:pass@rp.example.com/cb", /user name/],
  ["https://rp.example.com@evil.example/cb", /user name/],
  ["https://rp.example.com@@evil.example/cb", /user name/],
  ["https://@rp.example.com/cb", /normal form/],
  ["https://rp.example.com\\@evil.example/cb", /backslash/],
  ["https:\\\\rp.example.com/cb", /backslash/],
  ["https://*.example.com/cb", /wildcard/],
  ["https://rp.example.com/*", /wildcard/],
  ["https://rp.example.com/%2a", /wildcard/],
  ["https://rp.example.com./cb", /dot/],
  ["https:rp.example.com/cb", /normal form/],
  ["https:/rp.example.com/cb", /normal form/],
  ["https:///rp.example.com/cb", /normal form/],
  ["//rp.example.com/cb", /scheme/],
  ["/cb", /scheme/],
  ["cb", /scheme/],
  ["", /outside ASCII|white space/],
  ["https://", /not a URL/],
  ["https://rp.example.com:99999/cb", /not a URL/],
  [" https://rp.example.com/cb", /white space/],
  ["https://rp.example.com/cb ", /white space/],
  ["https://rp.example.com/c b", /white space/],
  ["https://rp.example.com/cb\n", /white space/],
  ["https://rp.example.com/\tcb", /white space/],
  ["https://rp.example.com/cb\0", /control/],
  ["https://rр.example.com/cb", /outside ASCII/],
  ["https://rp。example.com/cb", /outside ASCII/],
  ["https://rp.example.com/\u202ecb", /outside ASCII/],
  ["https://xn--a/cb", /not a URL/],
  ["https://2130706433/cb", /normal form/],
  ["javascript:alert(1)", /must/],
  ["JaVaScRiPt:alert(1)", /lower case/],
  ["javascript://rp.example.com/%0aalert(1)", /control|must/],
  ["java\tscript:alert(1)", /white space/],
  ["data:text/html,x", /must/],
  ["DATA:text/html,x", /lower case/],
  ["vbscript:x", /must/],
  ["file:///etc/passwd", /must|two slashes/],
  ["blob:https://rp.example.com/1", /must|encoded/],
  ["about:blank", /must/],
  ["ftp://rp.example.com/cb", /must/],
  ["ws://rp.example.com/cb", /must/],
  ["http://rp.example.com/cb", /must|another machine/],
  ["http://127.0.0.2/cb", /must|another machine/],
  ["http://127.1/cb", /normal form/],
  ["http://0x7f000001/cb", /normal form/],
  ["http://localhost.evil.example/cb", /must|another machine/],
  ["https://rp.example.com/cb?code=1", /"code"/],
  ["https://rp.example.com/cb?state=1", /"state"/],
  ["https://rp.example.com/cb?a=1&iss=x", /"iss"/],
  [`https://rp.example.com/${"a".repeat(2048)}`, /longer than 2048/],
];
for (const [uri, reason] of refusedEverywhere) {
  test(`no client may register ${JSON.stringify(uri.slice(0, 60))}`, () => {
    for (const isNative of [false, true]) {
      for (const isDevelopment of [false, true]) {
        assert.match(redirectUriFault(uri, { isNative, isDevelopment }) ?? "accepted", reason);
      }
    }
  });
}

test("http on the loopback interface is for web clients in development only", () => {
  for (const uri of ["http://localhost:3001/cb", "http://127.0.0.1/cb", "http://[::1]:8080/cb"]) {
    assert.equal(redirectUriFault(uri, development), undefined, uri);
    assert.match(redirectUriFault(uri, web) ?? "accepted", /development only/, uri);
  }
});

const acceptedNative = [
  "com.example.app:/callback",
  "com.example.app:/",
  "com.googleusercontent.apps.12-ab:/oauth2redirect",
  "https://app.example.com/cb",
  "http://127.0.0.1/cb",
  "http://127.0.0.1:49152/cb",
  "http://[::1]/cb",
];
for (const uri of acceptedNative) {
  test(`a native client may register ${uri}`, () => assert.equal(redirectUriFault(uri, native), undefined));
}

const refusedNative: readonly (readonly [string, RegExp])[] = [
  ["http://localhost/cb", /localhost/],
  ["http://localhost:8080/cb", /localhost/],
  ["https://localhost/cb", /certificate/],
  ["https://127.0.0.1/cb", /certificate/],
  ["myapp:/cb", /reversed domain name/],
  ["com.example.app://cb", /one slash/],
  ["com.example.app:///cb", /two slashes|one slash/],
  ["com.example.app:cb", /one slash/],
  ["com.example.app:", /one slash/],
  ["com.example.app:/.//cb", /two slashes/],
  ["com..app:/cb", /reversed domain name/],
  ["com.:/cb", /reversed domain name/],
];
for (const [uri, reason] of refusedNative) {
  test(`no native client may register ${uri}`, () => {
    assert.match(redirectUriFault(uri, native) ?? "accepted", reason);
  });
}
test("a private-use scheme is for native clients only", () => {
  assert.match(redirectUriFault("com.example.app:/cb", web) ?? "accepted", /https/);
});

test("a web origin is scheme, host and port as a browser sends them", () => {
  for (const origin of ["https://app.example.com", "https://app.example.com:8443"]) {
    assert.equal(webOriginFault(origin, web), undefined, origin);
  }
  assert.equal(webOriginFault("http://localhost:5173", development), undefined);
  for (const origin of [
    "https://app.example.com/",
    "https://app.example.com/x",
    "https://app.example.com?x",
    "https://App.example.com",
    "https://app.example.com:443",
    "https://*.example.com",
    "http://app.example.com",
    "http://localhost:5173",
    "null",
    "*",
    "com.example.app:",
    "https://u@app.example.com",
  ]) {
    assert.notEqual(webOriginFault(origin, web), undefined, origin);
  }
});

test("links of a client are https, in development http too, and nothing else", () => {
  assert.equal(pageUrlFault("https://rp.example.com/logo.png", web), undefined);
  assert.equal(pageUrlFault("http://rp.example.com/logo.png", development), undefined);
  assert.match(pageUrlFault("http://rp.example.com/logo.png", web) ?? "accepted", /https/);
  for (const url of [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:image/png,x",
    "//x.example/y",
    "https://u@x.example/",
    "https://x.example/\\y",
  ]) {
    assert.notEqual(pageUrlFault(url, development), undefined, url);
  }
});

test("a jwks_uri is https at a public place; development may use its own machine", () => {
  assert.equal(keysUrlFault("https://rp.example.com/jwks", web), undefined);
  assert.equal(keysUrlFault("http://127.0.0.1:4000/jwks", development), undefined);
  for (const url of [
    "http://rp.example.com/jwks",
    "http://127.0.0.1:4000/jwks",
    "https://127.0.0.1/jwks",
    "https://localhost/jwks",
    "https://localhost./jwks",
    "https://a.localhost/jwks",
    "https://10.0.0.1/jwks",
    "https://169.254.169.254/latest",
    "https://[::1]/jwks",
    "https://[::ffff:10.0.0.1]/jwks",
    "https://[fd00::1]/jwks",
    "https://u:p@rp.example.com/jwks",
    "file:///jwks",
  ]) {
    assert.notEqual(keysUrlFault(url, web), undefined, url);
  }
});
