/** What is right and wrong with an installation, found by asking Slack, the bot and the platform; nothing is changed by it. */
import { randomBytes } from 'node:crypto';
import { EVENTS_PATH } from '../receive/http.ts';
import { sign } from '../receive/signature.ts';
import { SettingsError } from '../../chat/index.ts';
import { readSlackSettings } from '../settings.ts';
import { BOT_SCOPES } from './manifest.ts';

export interface Check {
  readonly what: string;
  /** `note`: it works, and could be better. `left out`: it cannot be looked at yet. */
  readonly state: 'ok' | 'wrong' | 'note' | 'left out';
  readonly says: string;
  /** What to do about it. */
  readonly fix?: string;
}

export interface SetupOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** `slack` of centaur.yaml. */
  readonly section: unknown;
  /** Where Slack is to send events; undefined: nowhere, or not known. */
  readonly publicUrl: string | undefined;
}

const ANSWER_MS = 10_000;

type Get = (name: string) => string | undefined;

export async function checkSetup({ environment, section, publicUrl }: SetupOptions): Promise<readonly Check[]> {
  const get: Get = (name) => environment[name]?.trim() || undefined;
  const slackApiUrl = `${(get('SLACK_API_URL') ?? 'https://slack.com/api').replace(/\/$/, '')}/`;
  const bot = `http://${get('SLACK_HOST') ?? '127.0.0.1'}:${get('SLACK_PORT') ?? '8083'}`;
  const apiUrl = (get('CENTAUR_API_URL') ?? 'http://127.0.0.1:8080').replace(/\/$/, '').replace(/\/api$/, '');
  const isSocket = get('SLACK_APP_TOKEN') !== undefined;
  return [
    ...checkSettings(environment, section),
    ...(await checkToken(slackApiUrl, get('SLACK_BOT_TOKEN'))),
    ...(isSocket
      ? [await checkSocket(slackApiUrl, get('SLACK_APP_TOKEN') ?? '')]
      : [await checkSecret(bot, get('SLACK_SIGNING_SECRET')), await checkAddress(publicUrl, get('SLACK_SIGNING_SECRET'))]),
    await checkBot(bot),
    ...(await checkKey(apiUrl, get('SLACKBOT_API_KEY'))),
  ];
}

const ok = (what: string, says: string): Check => ({ what, state: 'ok', says });
const wrong = (what: string, says: string, fix: string): Check => ({ what, state: 'wrong', says, fix });
const leftOut = (what: string, says: string): Check => ({ what, state: 'left out', says });

function checkSettings(environment: SetupOptions['environment'], section: unknown): readonly Check[] {
  try {
    readSlackSettings(environment, section);
    return [ok('settings', 'the environment, and the section slack of centaur.yaml, can be used')];
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    return error.problems.map((problem) => wrong('settings', problem, 'Set it, and run this again.'));
  }
}

async function checkToken(slackApiUrl: string, token: string | undefined): Promise<readonly Check[]> {
  if (token === undefined) return [leftOut('token', 'SLACK_BOT_TOKEN is not set'), leftOut('scopes', 'there is no token')];
  const { answer, headers, problem } = await askSlack(slackApiUrl, 'auth.test', token);
  if (problem !== undefined)
    return [wrong('token', `Slack does not answer at ${slackApiUrl}: ${problem}`, 'Is there a way out to slack.com?')];
  if (answer['ok'] !== true)
    return [
      wrong(
        'token',
        `Slack refuses SLACK_BOT_TOKEN: ${String(answer['error'])}`,
        'Copy the "Bot User OAuth Token" from OAuth & Permissions of the app; install the app to the workspace first.',
      ),
    ];
  const granted = (headers.get('x-oauth-scopes') ?? '').split(',').map((scope) => scope.trim());
  const missing = BOT_SCOPES.filter((scope) => !granted.includes(scope));
  const more = granted.filter((scope) => scope !== '' && !BOT_SCOPES.includes(scope));
  return [
    ok('token', `of the bot ${String(answer['user'])} in the workspace ${String(answer['team'] ?? answer['team_id'])}`),
    missing.length > 0
      ? wrong(
          'scopes',
          `missing: ${missing.join(', ')}`,
          'Paste the manifest into App Manifest of the app, save it, and install the app again.',
        )
      : more.length > 0
        ? {
            what: 'scopes',
            state: 'note',
            says: `all there; not needed: ${more.join(', ')}`,
            fix: 'Take them away in OAuth & Permissions.',
          }
        : ok('scopes', `all ${BOT_SCOPES.length}, and no more`),
  ];
}

async function checkSocket(slackApiUrl: string, token: string): Promise<Check> {
  const { answer, problem } = await askSlack(slackApiUrl, 'apps.connections.open', token);
  if (problem !== undefined) return wrong('socket', `Slack does not answer: ${problem}`, 'Is there a way out to slack.com?');
  if (answer['ok'] === true) return ok('socket', 'Slack opens a line for SLACK_APP_TOKEN');
  return wrong(
    'socket',
    `Slack refuses SLACK_APP_TOKEN: ${String(answer['error'])}`,
    'Make an app-level token with the scope connections:write in Basic Information of the app, and turn on Socket Mode.',
  );
}

async function checkSecret(bot: string, secret: string | undefined): Promise<Check> {
  if (secret === undefined) return leftOut('signing secret', 'SLACK_SIGNING_SECRET is not set');
  const right = await challenge(bot, secret);
  if (right === 'no answer')
    return leftOut('signing secret', `the bot does not run at ${bot}; run this again beside "centaur slack" or "centaur up"`);
  if (right !== 'answered')
    return wrong(
      'signing secret',
      `the bot answers a signed request with ${right}`,
      'Start the bot again, with the same SLACK_SIGNING_SECRET.',
    );
  const forged = await challenge(bot, randomBytes(16).toString('hex'));
  if (forged !== 401)
    return wrong('signing secret', `a request with a wrong signature is answered with ${forged}`, 'Is something else in front of the bot?');
  return ok('signing secret', 'a signed request is taken, and a wrongly signed one refused');
}

async function checkAddress(publicUrl: string | undefined, secret: string | undefined): Promise<Check> {
  if (publicUrl === undefined) return leftOut('address', 'say where Slack reaches the platform: --url https://…, or CENTAUR_PUBLIC_URL');
  if (secret === undefined) return leftOut('address', 'SLACK_SIGNING_SECRET is not set');
  const base = publicUrl.replace(/\/+$/, '');
  const health = await get(`${base}/healthz`);
  if (health.problem !== undefined)
    return wrong('address', `${base} cannot be reached from here: ${health.problem}`, 'Forward https://… to the port of the platform.');
  const told = await challenge(base, secret);
  if (told === 'answered') return ok('address', `a signed request to ${base}${EVENTS_PATH} comes to the bot`);
  return wrong(
    'address',
    `${base}${EVENTS_PATH} answers a signed request with ${told}`,
    told === 404
      ? 'The platform knows of no bot: run it by "centaur up", or set CENTAUR_SLACK_URL for "centaur api".'
      : 'Is it this platform, and does its bot have the same SLACK_SIGNING_SECRET?',
  );
}

async function checkBot(bot: string): Promise<Check> {
  const { status, problem, body } = await get(`${bot}/healthz`);
  if (problem !== undefined)
    return leftOut('bot', `it does not run at ${bot}: "centaur slack", or "centaur up" with the tokens, starts it`);
  if (status === 200) return ok('bot', `it runs at ${bot}, and Slack and the platform answer it`);
  const said = (body as { problem?: unknown } | undefined)?.problem;
  return wrong('bot', `it runs at ${bot}, and ${typeof said === 'string' ? said : `answers with ${status}`}`, 'Its log says more.');
}

/** Each asks for something that cannot be: a key without the scope is refused before that is seen, and nothing happens either way. */
const PROBES: readonly (readonly [scope: string, path: string, body?: object])[] = [
  ['threads.read', '/agent/threads?limit=1'],
  ['threads.write', '/agent/spawn', {}],
  ['deliveries.claim', '/agent/final-deliveries/claim', {}],
  ['inbox.use', '/agent/inbox/claim', {}],
  ['chats.use', '/chats/identities', {}],
  ['events.emit', '/workflows/events', {}],
  ['workflows:*', '/workflows/runs', {}],
];

async function checkKey(apiUrl: string, key: string | undefined): Promise<readonly Check[]> {
  if (key === undefined) return [leftOut('API key', 'SLACKBOT_API_KEY is not set')];
  const missing: string[] = [];
  for (const [scope, path, body] of PROBES) {
    const { status, problem } = await get(`${apiUrl}/api${path}`, key, body);
    if (problem !== undefined)
      return [
        wrong('API key', `the platform does not answer at ${apiUrl}: ${problem}`, 'Start it with "centaur up", or set CENTAUR_API_URL.'),
      ];
    if (status === 401) return [wrong('API key', 'the platform does not know SLACKBOT_API_KEY', 'Make one: centaur slack key')];
    if (status === 403) missing.push(scope);
  }
  if (missing.length > 0) return [wrong('API key', `it lacks ${missing.join(', ')}`, 'Make one that has all: centaur slack key')];
  const all = await get(`${apiUrl}/api/keys`, key);
  return [
    all.status === 200
      ? {
          what: 'API key',
          state: 'note',
          says: 'it is an admin key, which may do more than a bot should',
          fix: 'Make the bot its own: centaur slack key',
        }
      : ok('API key', 'the platform knows it, and it may do what the bot does'),
  ];
}

interface Answered {
  readonly status: number;
  readonly body?: unknown;
  readonly problem?: string;
}

async function get(url: string, key?: string, body?: object): Promise<Answered> {
  try {
    const response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: {
        ...(key === undefined ? {} : { 'x-api-key': key }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json().catch(() => undefined) };
  } catch (error) {
    return { status: 0, problem: wordsOf(error) };
  }
}

/** Asks as Slack does when an address is entered in the app's settings. */
async function challenge(base: string, secret: string): Promise<'answered' | 'no answer' | number> {
  const word = randomBytes(16).toString('hex');
  const body = JSON.stringify({ type: 'url_verification', challenge: word });
  try {
    const response = await fetch(`${base}${EVENTS_PATH}`, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: { 'content-type': 'application/json', ...sign(secret, body, Date.now()) },
      body,
    });
    const text = await response.text();
    return response.ok && text.includes(word) ? 'answered' : response.status;
  } catch {
    return 'no answer';
  }
}

async function askSlack(slackApiUrl: string, method: string, token: string) {
  try {
    const response = await fetch(slackApiUrl + method, {
      method: 'POST',
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/x-www-form-urlencoded' },
    });
    const answer = (await response.json()) as Readonly<Record<string, unknown>>;
    return { answer, headers: response.headers, problem: undefined };
  } catch (error) {
    return { answer: {}, headers: new Headers(), problem: wordsOf(error) };
  }
}

/** `fetch failed` says nothing; its cause does. */
function wordsOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code || message : message;
}
