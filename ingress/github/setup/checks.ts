/** Whether all that the bot needs is as it should be: asked of GitHub, of the platform and of the bot itself. Nothing is changed. */
import { createHmac } from 'node:crypto';
import { CentaurApiError, type Client, createClient } from '@centaur/sdk';
import { createGitHubCalls, type GitHubCalls, GitHubRefused } from '../calls.ts';
import { WEBHOOK_PATH } from '../receive/http.ts';
import type { GitHubSettings } from '../settings.ts';
import { EVENTS, PERMISSIONS } from './manifest.ts';

export interface Check {
  readonly what: string;
  readonly ok: boolean;
  /** What was found; and what to do, when it is wrong. */
  readonly message: string;
}

/** @param url where GitHub reaches the bot, with its path; undefined: that is not checked */
export async function checkSetup(settings: GitHubSettings, url: string | undefined): Promise<Check[]> {
  const github = createGitHubCalls({ auth: settings.auth, apiUrl: settings.githubApiUrl, now: Date.now });
  const api = createClient({ url: settings.apiUrl, apiKey: settings.apiKey });
  const { host, port } = settings.listen;
  const local = `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}${WEBHOOK_PATH}`;
  const groups = await Promise.all([
    checkCredentials(settings, github),
    checkRepositories(settings, github),
    checkKey(api, settings.apiUrl),
    checkBot('bot', local, settings.webhookSecret, '"centaur github" starts it; GITHUB_BOT_HOST and GITHUB_BOT_PORT say where it listens'),
    url === undefined
      ? []
      : checkBot(
          'address',
          url,
          settings.webhookSecret,
          `a proxy there has to hand ${WEBHOOK_PATH} on to the bot, bytes and headers as they come`,
        ),
  ]);
  return groups.flat();
}

const LONGEST_MS = 10_000;

async function checkCredentials({ auth, githubApiUrl }: GitHubSettings, github: GitHubCalls): Promise<Check[]> {
  const what = auth.kind === 'token' ? 'token' : 'app';
  try {
    const signal = AbortSignal.timeout(LONGEST_MS);
    const self = await github.self(signal);
    const who = { what, ok: true, message: `GitHub knows it as ${self.login}; people write @${self.name}` };
    return auth.kind === 'token' ? [who, ...(await checkScopes(github, signal))] : [who, ...(await checkApp(github, signal))];
  } catch (error) {
    const fix =
      error instanceof GitHubRefused
        ? auth.kind === 'token'
          ? 'make a new token and set GITHUB_BOT_TOKEN'
          : 'are GITHUB_APP_ID and the private key those of one app, and is the clock right?'
        : `is GITHUB_API_URL right (${githubApiUrl})?`;
    return [{ what, ok: false, message: `${(error as Error).message}: ${fix}` }];
  }
}

/** Only tokens of the older kind tell what they may. */
async function checkScopes(github: GitHubCalls, signal: AbortSignal): Promise<Check[]> {
  const scopes = (await github.account('/user', signal)).headers.get('x-oauth-scopes');
  if (scopes === null || scopes === '') return [];
  const may = scopes.split(',').map((scope) => scope.trim());
  const ok = may.includes('repo') || may.includes('public_repo');
  const more = may.filter((scope) => !['repo', 'public_repo'].includes(scope));
  if (!ok) return [{ what: 'permissions', ok, message: `the token has ${scopes}: it needs repo, or public_repo for public ones` }];
  return [{ what: 'permissions', ok, message: `${scopes}${more.length === 0 ? '' : `; not needed: ${more.join(', ')}`}` }];
}

async function checkApp(github: GitHubCalls, signal: AbortSignal): Promise<Check[]> {
  const { body: app } = await github.account<{ permissions?: Record<string, string>; events?: string[] }>('/app', signal);
  const { body: installations } = await github.account<unknown[]>('/app/installations', signal);
  const lacking = Object.entries(PERMISSIONS).filter(([name, needed]) => {
    const given = app.permissions?.[name];
    // every app may read metadata
    return name !== 'metadata' && given !== 'write' && given !== 'admin' && given !== needed;
  });
  const silent = EVENTS.filter((event) => app.events?.includes(event) !== true);
  return [
    lacking.length === 0
      ? { what: 'permissions', ok: true, message: 'the app may do what it needs' }
      : {
          what: 'permissions',
          ok: false,
          message: `the app lacks ${lacking.map(([name, needed]) => `${name}: ${needed}`).join(', ')}: set them in its settings`,
        },
    silent.length === 0
      ? { what: 'events', ok: true, message: 'the app is told of all that it needs' }
      : { what: 'events', ok: false, message: `the app is not told of ${silent.join(', ')}: subscribe to them in its settings` },
    installations.length > 0
      ? { what: 'installations', ok: true, message: `${installations.length}` }
      : {
          what: 'installations',
          ok: false,
          message: 'the app is installed nowhere: install it on the repositories where it should answer',
        },
  ];
}

async function checkRepositories({ rules }: GitHubSettings, github: GitHubCalls): Promise<Check[]> {
  const named = (rules.repositories ?? []).filter((repository) => !repository.endsWith('/*')).slice(0, 20);
  return Promise.all(
    named.map(async (repository): Promise<Check> => {
      const what = `repository ${repository}`;
      try {
        const found = await github.read<{ archived?: boolean }>(
          { repo: repository.toLowerCase(), installation: null },
          '',
          AbortSignal.timeout(LONGEST_MS),
        );
        return found.archived === true
          ? { what, ok: false, message: 'is archived: nobody can comment there' }
          : { what, ok: true, message: 'can be read' };
      } catch (error) {
        return { what, ok: false, message: `${(error as Error).message}: give the account or the app access to it` };
      }
    }),
  );
}

/** A thing that is not there is refused as not there to whoever may ask for it. */
async function checkKey(api: Client, apiUrl: string): Promise<Check[]> {
  const nothing = '00000000-0000-7000-8000-000000000000';
  const consumerId = 'setup';
  const tries: readonly (readonly [scope: string, ask: () => Promise<unknown>])[] = [
    ['threads.read', () => api.threads.execution(nothing)],
    ['threads.write', () => api.threads.cancel(nothing)],
    ['deliveries.claim', () => api.deliveries.heartbeat(nothing, { consumerId })],
    ['inbox.use', () => api.inbox.heartbeat({ platform: 'github', eventId: nothing }, { consumerId })],
    ['chats.use', () => api.chats.identify({ platform: 'github', team: 'github.com', externalUser: 'octocat' })],
  ];
  const missing: string[] = [];
  for (const [scope, ask] of tries) {
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof CentaurApiError) || error.status === 0)
        return [{ what: 'platform', ok: false, message: `no answer from ${apiUrl}: is it running, and CENTAUR_API_URL right?` }];
      if (error.status === 401)
        return [{ what: 'key', ok: false, message: 'GITHUBBOT_API_KEY is no key of this platform: "centaur github key" makes one' }];
      if (error.status === 403) missing.push(scope);
    }
  }
  return missing.length === 0
    ? [{ what: 'key', ok: true, message: 'the platform takes it' }]
    : [{ what: 'key', ok: false, message: `GITHUBBOT_API_KEY lacks ${missing.join(', ')}: "centaur github key" makes one that has them` }];
}

/** It takes what is signed, and nothing else. */
async function checkBot(what: string, url: string, secret: string, fix: string): Promise<Check[]> {
  const body = '{"zen":"Keep it logically awesome."}';
  const ping = async (key: string): Promise<number> => {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-github-event': 'ping',
        'x-github-delivery': 'centaur-setup',
        'x-hub-signature-256': `sha256=${createHmac('sha256', key).update(body).digest('hex')}`,
      },
      body,
      redirect: 'error',
      signal: AbortSignal.timeout(LONGEST_MS),
    });
    await response.arrayBuffer();
    return response.status;
  };
  try {
    const [signed, forged] = [await ping(secret), await ping(`not ${secret}`)];
    if (signed === 401)
      return [{ what, ok: false, message: `${url} has another GITHUB_WEBHOOK_SECRET: use one, there, here and at GitHub` }];
    if (signed !== 200) return [{ what, ok: false, message: `${url} answers ${signed}: ${fix}` }];
    if (forged !== 401) return [{ what, ok: false, message: `${url} takes what is not signed (${forged}): is it this bot?` }];
    return [{ what, ok: true, message: `${url} takes what is signed with the secret, and nothing else` }];
  } catch (error) {
    const { cause, message } = error as Error;
    return [{ what, ok: false, message: `${url}: ${(cause as Error | undefined)?.message ?? message}: ${fix}` }];
  }
}
