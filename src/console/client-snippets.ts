/** Settings that a developer pastes into a web app of each framework; the secret stays as dots. */
import { splitScope } from "../scopes.ts";
import { DOTS, environment, type Facts, type Framework, importing, lines, methodOf, quote } from "./client-facts.ts";

/** For web apps on Express, with openid-client. */
export function express(facts: Facts): Framework {
  const { issuer, redirect, api, isPost } = facts;
  const auth = isPost ? "openid.ClientSecretPost" : "openid.ClientSecretBasic";
  const insecure = issuer.startsWith("http:") ? ", { execute: [openid.allowInsecureRequests] }" : "";
  // The token for an API does not serve /userinfo; the ID token then carries the claims itself.
  const person =
    api === undefined
      ? "await openid.fetchUserInfo(signet, tokens.access_token, tokens.claims().sub)"
      : "tokens.claims()";
  const code = `${importing("express", "express")}
${importing("session", "express-session")}
${importing("* as openid", "openid-client")}

const { ISSUER, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPE, SESSION_SECRET } = process.env;
const proof = ${auth}(CLIENT_SECRET);
const signet = await openid.discovery(new URL(ISSUER), CLIENT_ID, {}, proof${insecure});

const app = express();
app.use(session({ secret: SESSION_SECRET, resave: false, saveUninitialized: false }));

app.get("/login", async (request, response) => {
  const verifier = openid.randomPKCECodeVerifier();
  const state = openid.randomState();
  Object.assign(request.session, { verifier, state });
  const url = openid.buildAuthorizationUrl(signet, {
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,${api === undefined ? "" : "\n    resource: process.env.RESOURCE,"}
    state,
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  response.redirect(url.href);
});

app.get(${quote(pathOf(redirect))}, async (request, response) => {
  const { verifier, state } = request.session;
  const url = new URL(request.originalUrl, REDIRECT_URI);
  const expected = { pkceCodeVerifier: verifier, expectedState: state };
  const tokens = await openid.authorizationCodeGrant(signet, url, expected);
  const person = ${person};
  response.type("text").send(\`Hello \${person.name ?? person.sub}\`);
});

app.listen(${portOf(redirect)});`;
  return {
    label: "Express",
    snippets: [
      { file: ".env", code: lines([...environment(facts), ["SESSION_SECRET", "change-me"]]) },
      { file: "", code: "npm install express express-session openid-client" },
      { file: "app.mjs", code },
      { file: "", code: "node --env-file=.env app.mjs" },
    ],
  };
}

export function nextJs({ issuer, id, openId, isPost }: Facts): Framework {
  const env = [
    ["AUTH_SIGNET_ISSUER", issuer],
    ["AUTH_SIGNET_ID", id],
    ["AUTH_SIGNET_SECRET", DOTS],
    ["AUTH_SIGNET_SCOPE", openId],
  ];
  const code = `${importing("NextAuth", "next-auth")}

export const { handlers, auth, signIn, signOut } = NextAuth({
  providers: [
    {
      id: "signet",
      name: "Signet",
      type: "oidc",
      issuer: process.env.AUTH_SIGNET_ISSUER,
      clientId: process.env.AUTH_SIGNET_ID,
      clientSecret: process.env.AUTH_SIGNET_SECRET,
      client: { token_endpoint_auth_method: "${methodOf(isPost)}" },
      authorization: { params: { scope: process.env.AUTH_SIGNET_SCOPE } },
      checks: ["pkce", "state", "nonce"],
      idToken: false,
    },
  ],
});`;
  return {
    label: "Next.js (Auth.js)",
    snippets: [
      { file: "", code: "npm install next-auth@beta\nnpx auth secret" },
      { file: ".env.local", code: lines(env) },
      { file: "auth.ts", code },
      {
        file: "app/api/auth/[...nextauth]/route.ts",
        code: `${importing("{ handlers }", "@/auth")}\n\nexport const { GET, POST } = handlers;`,
      },
    ],
    callback: "/api/auth/callback/signet",
  };
}

export function springBoot({ issuer, id, openId, isPost, isPkceOptional }: Facts): Framework {
  const yaml = `spring:
  security:
    oauth2:
      client:
        registration:
          signet:
            client-id: ${id}
            client-secret: \${SIGNET_CLIENT_SECRET}
            client-authentication-method: ${methodOf(isPost)}
            authorization-grant-type: authorization_code
            redirect-uri: "{baseUrl}/login/oauth2/code/{registrationId}"
            scope: ${splitScope(openId).join(", ")}
        provider:
          signet:
            issuer-uri: ${issuer}
            user-name-attribute: sub`;
  const java = `@Bean
SecurityFilterChain security(HttpSecurity http, ClientRegistrationRepository clients) throws Exception {
  var resolver = new DefaultOAuth2AuthorizationRequestResolver(clients, "/oauth2/authorization");
  resolver.setAuthorizationRequestCustomizer(OAuth2AuthorizationRequestCustomizers.withPkce());
  return http
      .authorizeHttpRequests(requests -> requests.anyRequest().authenticated())
      .oauth2Login(login -> login.authorizationEndpoint(end -> end.authorizationRequestResolver(resolver)))
      .build();
}`;
  return {
    label: "Spring Boot",
    snippets: [
      { file: "", code: lines([["SIGNET_CLIENT_SECRET", DOTS]]) },
      { file: "src/main/resources/application.yml", code: yaml },
      ...(isPkceOptional ? [] : [{ file: "SecurityConfig.java", code: java }]),
    ],
    callback: "/login/oauth2/code/signet",
  };
}

export function django({ issuer, id, openId, isPost, idTokenAlgorithm }: Facts): Framework {
  const settings = `import os

INSTALLED_APPS += ["mozilla_django_oidc"]
AUTHENTICATION_BACKENDS = ["mozilla_django_oidc.auth.OIDCAuthenticationBackend"]

OIDC_RP_CLIENT_ID = ${quote(id)}
OIDC_RP_CLIENT_SECRET = os.environ["SIGNET_CLIENT_SECRET"]
OIDC_RP_SIGN_ALGO = ${quote(idTokenAlgorithm)}
OIDC_RP_SCOPES = ${quote(openId)}
OIDC_USE_PKCE = True
OIDC_TOKEN_USE_BASIC_AUTH = ${isPost ? "False" : "True"}
OIDC_OP_AUTHORIZATION_ENDPOINT = ${quote(`${issuer}/authorize`)}
OIDC_OP_TOKEN_ENDPOINT = ${quote(`${issuer}/token`)}
OIDC_OP_USER_ENDPOINT = ${quote(`${issuer}/userinfo`)}
OIDC_OP_JWKS_ENDPOINT = ${quote(`${issuer}/jwks`)}
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"`;
  const urls = `from django.urls import include, path

urlpatterns += [path("oidc/", include("mozilla_django_oidc.urls"))]`;
  return {
    label: "Django",
    snippets: [
      { file: "", code: "pip install mozilla-django-oidc" },
      { file: "", code: lines([["SIGNET_CLIENT_SECRET", DOTS]]) },
      { file: "settings.py", code: settings },
      { file: "urls.py", code: urls },
    ],
    callback: "/oidc/callback/",
  };
}

export function aspNet({ issuer, id, openId, redirect }: Facts): Framework {
  const scopes = splitScope(openId).map((scope) => `    options.Scope.Add(${quote(scope)});`);
  const code = `builder.Services
  .AddAuthentication(options =>
  {
    options.DefaultScheme = CookieAuthenticationDefaults.AuthenticationScheme;
    options.DefaultChallengeScheme = OpenIdConnectDefaults.AuthenticationScheme;
  })
  .AddCookie()
  .AddOpenIdConnect(options =>
  {
    options.Authority = ${quote(issuer)};
    options.ClientId = ${quote(id)};
    options.ClientSecret = builder.Configuration["Signet:ClientSecret"];
    options.CallbackPath = ${quote(pathOf(redirect))};
    options.ResponseType = "code";
    options.ResponseMode = "query";
    options.UsePkce = true;
    options.MapInboundClaims = false;
    options.GetClaimsFromUserInfoEndpoint = true;${issuer.startsWith("http:") ? "\n    options.RequireHttpsMetadata = false;" : ""}
    options.Scope.Clear();
${scopes.join("\n")}
  });`;
  return {
    label: "ASP.NET Core",
    snippets: [
      { file: "", code: "dotnet add package Microsoft.AspNetCore.Authentication.OpenIdConnect" },
      { file: "", code: `dotnet user-secrets init\ndotnet user-secrets set Signet:ClientSecret ${DOTS}` },
      { file: "Program.cs", code },
    ],
    // Its handler sends the secret in the body and knows no other way.
    method: "client_secret_post",
  };
}

function pathOf(uri: string): string {
  return URL.canParse(uri) ? new URL(uri).pathname : "/callback";
}

/** The app's own port where the address names one, as on a developer's machine. */
function portOf(uri: string): string {
  return (URL.canParse(uri) ? new URL(uri).port : "") || "4000";
}
