/** Accounts at other services: the apps by which they are connected, and the connections. No token is answered. */
import type { CallbackOutcome, CallbackResult } from '../../oauth/index.ts';
import {
  AppPath,
  AppSchema,
  CallbackQuery,
  ConnectBody,
  ConnectionPath,
  ConnectionSchema,
  PutAppBody,
  RemovedAppSchema,
  RevokedConnectionSchema,
  StartedConnectionSchema,
} from '../account-schemas.ts';
import { escapeHtml, pageResponse } from '../html.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { accountsOf } from '../services.ts';

export const accountRoutes = [
  route({
    id: 'listOAuthApps',
    method: 'GET',
    path: '/oauth/apps',
    group: 'Accounts',
    summary: 'List the OAuth apps; never a secret',
    access: { scope: 'secrets.read' },
    responses: { 200: { description: 'All of them', schema: page(AppSchema) } },
    errors: ['ACCOUNTS_UNAVAILABLE'],
    handle: async (_call, services) => ok({ items: await accountsOf(services).listApps(), next: null }),
  }),
  route({
    id: 'putOAuthApp',
    method: 'PUT',
    path: '/oauth/apps/{name}',
    group: 'Accounts',
    summary: 'Say as whom this installation is known at a provider',
    description:
      'All but the client’s secret is replaced by what is given. What an app has connected stays as it is, but that another secret of the same client ' +
      'is used for it from then on; whoever connects again gets all of the new one.',
    access: { scope: 'secrets.write' },
    params: AppPath,
    body: PutAppBody,
    example: {
      provider: 'github',
      client_id: 'Iv1.0123456789abcdef',
      client_secret: '0123456789abcdef0123456789abcdef01234567',
      scopes: ['repo'],
    },
    responses: { 200: { description: 'The app, without its secret', schema: AppSchema } },
    errors: ['INVALID_OAUTH_APP', 'ACCOUNTS_UNAVAILABLE', 'PUBLIC_URL_UNFIT'],
    handle: async ({ params, body, caller }, services) => ok(await accountsOf(services).putApp(actorOf(caller), params.name, body)),
  }),
  route({
    id: 'removeOAuthApp',
    method: 'DELETE',
    path: '/oauth/apps/{name}',
    group: 'Accounts',
    summary: 'Forget an OAuth app by which no account is connected',
    access: { scope: 'secrets.write' },
    params: AppPath,
    responses: { 200: { description: 'It is gone', schema: RemovedAppSchema } },
    errors: ['OAUTH_APP_NOT_FOUND', 'OAUTH_APP_IN_USE', 'ACCOUNTS_UNAVAILABLE'],
    async handle({ params, caller }, services) {
      await accountsOf(services).removeApp(actorOf(caller), params.name);
      return ok({ name: params.name, removed: true });
    },
  }),
  route({
    id: 'listConnections',
    method: 'GET',
    path: '/oauth/connections',
    group: 'Accounts',
    summary: 'List the accounts that are connected, or are being connected',
    access: { scope: 'secrets.read' },
    responses: { 200: { description: 'All of them', schema: page(ConnectionSchema) } },
    errors: ['ACCOUNTS_UNAVAILABLE'],
    handle: async (_call, services) => ok({ items: await accountsOf(services).listConnections(), next: null }),
  }),
  route({
    id: 'connectAccount',
    method: 'POST',
    path: '/oauth/connections',
    group: 'Accounts',
    summary: 'Begin to connect an account',
    description:
      'Answers with what a person is to do: open an address, or type a code at another one. Ask for the connection until it is no longer `pending`. ' +
      'An account that was connected for the same user by the same app is replaced then.',
    access: { scope: 'secrets.write' },
    body: ConnectBody,
    example: { app: 'google', user: 'ana@example.com' },
    responses: { 200: { description: 'The attempt', schema: StartedConnectionSchema } },
    errors: [
      'INVALID_CONNECTION',
      'OAUTH_APP_NOT_FOUND',
      'SECRET_TAKEN',
      'TOO_MANY_CONNECTIONS',
      'PROVIDER_FAILED',
      'ACCOUNTS_UNAVAILABLE',
      'PUBLIC_URL_UNFIT',
    ],
    handle: async ({ body, caller }, services) => ok(await accountsOf(services).connect(actorOf(caller), body)),
  }),
  route({
    id: 'getConnection',
    method: 'GET',
    path: '/oauth/connections/{connection_id}',
    group: 'Accounts',
    summary: 'Read what became of an attempt, or how an account stands',
    access: { scope: 'secrets.read' },
    params: ConnectionPath,
    responses: { 200: { description: 'The connection', schema: ConnectionSchema } },
    errors: ['CONNECTION_NOT_FOUND', 'ACCOUNTS_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await accountsOf(services).getConnection(params.connection_id)),
  }),
  route({
    id: 'revokeConnection',
    method: 'DELETE',
    path: '/oauth/connections/{connection_id}',
    group: 'Accounts',
    summary: 'Disconnect an account: here, and at the provider where it can be told',
    description: 'Its secret is destroyed with its grants, and every lease that holds it ends. An attempt that is under way is ended.',
    access: { scope: 'secrets.write' },
    params: ConnectionPath,
    responses: { 200: { description: 'It is disconnected', schema: RevokedConnectionSchema } },
    errors: ['CONNECTION_NOT_FOUND', 'ACCOUNTS_UNAVAILABLE'],
    handle: async ({ params, caller }, services) => ok(await accountsOf(services).revoke(actorOf(caller), params.connection_id)),
  }),
  route({
    id: 'oauthCallback',
    method: 'GET',
    path: '/oauth/callback/{name}',
    group: 'Accounts',
    summary: 'Where providers send people back to; its proof is the state of an attempt, which counts once',
    access: 'public',
    params: AppPath,
    query: CallbackQuery,
    responses: {
      200: { description: 'A page that says that the account is connected', contentType: 'text/html' },
      400: { description: 'A page that says that it is not', contentType: 'text/html' },
    },
    errors: ['ACCOUNTS_UNAVAILABLE'],
    async handle({ params, query, request }, services) {
      // programs that look at an address before a person does take nothing
      if (request.method !== 'GET') return pageOf({ outcome: 'unknown', attempt: undefined });
      const { state, code, error, iss } = query;
      return pageOf(await accountsOf(services).callback({ app: params.name, state, code, error, iss }));
    },
  }),
];

const WORDS: Readonly<Record<CallbackOutcome, readonly [title: string, text: string]>> = {
  connected: ['Connected', 'The account is connected. You may close this page.'],
  denied: ['Not connected', 'The account was not connected: access was denied.'],
  failed: ['Not connected', 'The account was not connected. Whoever asked you to connect it sees why.'],
  unknown: ['Not connected', 'This address has been used before, is too old, or was not made here. Begin again.'],
};

/** Nothing of the request is shown, nothing is run, and nothing is loaded: app and user are those of the attempt, as they were given to us. */
function pageOf({ outcome, attempt }: CallbackResult): Response {
  const [title, text] = WORDS[outcome];
  const whose = attempt?.user === null ? 'everybody’s account' : `the account of ${escapeHtml(attempt?.user ?? '')} alone`;
  const about =
    attempt === undefined
      ? ''
      : `<p>App: ${escapeHtml(attempt.app)}. ${outcome === 'connected' ? 'It is' : 'It would have been'} ${whose}.</p>`;
  const html = `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head><body><h1>${title}</h1><p>${text}</p>${about}</body></html>\n`;
  return pageResponse({ status: outcome === 'connected' ? 200 : 400, html });
}
