// A real OpenID provider for tests: oidc-provider on a free port of the loopback address. It prints its issuer.
// POST /control changes it while it runs: {"clients": [...], "rotate": true, "id_token_s": 60}.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const GROUPS = { ann: ['/staff'], lea: ['/staff', '/desk'] };
const PAGE = '<!doctype html><html lang="en"><title>Provider</title><link rel="icon" href="data:,">';
let clients = [];
let keys = [];
let idTokenS = 3600;
let serve;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
}

function groups(id) {
  return GROUPS[id] ?? [];
}

function provider(issuer) {
  const made = new Provider(issuer, {
    clients,
    jwks: { keys },
    cookies: { keys: ['only-for-tests'] },
    pkce: { required: () => true },
    scopes: ['openid', 'email', 'offline_access', 'ask'],
    claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    rotateRefreshToken: true,
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async () => false,
    ttl: {
      AccessToken: 600, ClientCredentials: 600, Grant: 7200, IdToken: () => idTokenS, Interaction: 600,
      RefreshToken: 7200, Session: 7200,
    },
    findAccount: async (_ctx, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, email: `${id}@acme.example`, email_verified: true, groups: groups(id) }),
    }),
    extraTokenClaims: async (_ctx, token) => ({ groups: groups(token.accountId ?? token.clientId) }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = `${PAGE}${form}<button form="op.logoutForm" name="logout" value="yes">Yes</button>`;
        },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => 'https://sluicegate.example.org',
        useGrantedResource: async () => true,
        getResourceServerInfo: async () => ({ scope: 'ask', audience: 'sluicegate', accessTokenFormat: 'jwt' }),
      },
    },
  });
  made.on('server_error', (_ctx, error) => console.error(error));
  serve = made.callback();
  return made;
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function interaction(made, request, response) {
  const details = await made.interactionDetails(request, response);
  if (details.prompt.name === 'login' && request.method === 'GET') {
    response.setHeader('content-type', 'text/html');
    response.end(
      `${PAGE}<form method="post"><label>Name <input name="login"></label>`
      + '<button>Go on</button><button name="abort" value="1">Cancel</button></form>',
    );
    return;
  }
  if (request.method === 'POST') {
    const form = new URLSearchParams(await body(request));
    const result = form.get('abort')
      ? { error: 'access_denied', error_description: '<script>alert(1)</script>' }
      : { login: { accountId: form.get('login') } };
    await made.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    return;
  }
  const grant = new made.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope);
  grant.addResourceScope('https://sluicegate.example.org', 'ask');
  const consent = { grantId: await grant.save() };
  await made.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === '/control') {
      const asked = JSON.parse(await body(request));
      clients = asked.clients ?? clients;
      idTokenS = asked.id_token_s ?? idTokenS;
      if (asked.rotate) keys = [newKey()];
      // a new one has forgotten every grant
      if (asked.clients || asked.rotate) made = provider(issuer);
      response.end('{}');
    } else if (request.url.startsWith('/interaction/')) {
      await interaction(made, request, response);
    } else {
      await serve(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end();
  }
});

let issuer;
let made;
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  keys = [newKey()];
  made = provider(issuer);
  console.log(issuer);
});
