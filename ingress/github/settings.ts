/**
 * What an operator decides about GitHub: credentials from the environment, rules from the section `github` of `centaur.yaml`. Read
 * whole or not at all; what is wrong is named, and no value of a credential ever is.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { createSettingsReader, EFFORTS, type Environment, SettingsError } from '../chat/index.ts';

const name = z.string().min(1).max(128);
const login = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(?:\[bot\])?$/, 'expected a login such as octocat');

/** Who somebody is to a repository, in GitHub's words. */
const ASSOCIATIONS = [
  'OWNER',
  'MEMBER',
  'COLLABORATOR',
  'CONTRIBUTOR',
  'FIRST_TIME_CONTRIBUTOR',
  'FIRST_TIMER',
  'MANNEQUIN',
  'NONE',
] as const;

export const GITHUB_RULES = z.strictObject({
  /** Left out: every repository that sends events. `acme/*` stands for all of an owner. */
  repositories: z
    .array(z.string().regex(/^[A-Za-z0-9-]{1,100}\/(?:\*|[A-Za-z0-9._-]{1,100})$/, 'expected a repository such as acme/site, or acme/*'))
    .max(1000)
    .optional(),
  /** Who may ask. */
  associations: z.array(z.enum(ASSOCIATIONS)).default(['OWNER', 'MEMBER', 'COLLABORATOR']),
  /** Bots that may ask. Never this one. */
  bots: z.array(login).max(1000).default([]),
  /** Of a thread that is under way: whether comments go on without a mention. */
  replies: z.enum(['all', 'mentions']).default('mentions'),
  /** What becomes of a comment while a turn runs: a turn of its own afterwards, or said to the one that runs. */
  while_running: z.enum(['queue', 'steer']).default('queue'),
  harness: name.optional(),
  persona: name.optional(),
  model: name.optional(),
  effort: z.enum(EFFORTS).optional(),
  /** What an agent is told of the comments before it was asked. */
  history: z
    .strictObject({ comments: z.int().min(0).max(100).default(50), characters: z.int().min(0).max(100_000).default(24_000) })
    .default({ comments: 50, characters: 24_000 }),
  /** Whether people see what an agent does: commands and paths, for everybody who may read the repository. */
  steps: z.enum(['shown', 'hidden']).default('shown'),
});

export type GitHubRules = z.output<typeof GITHUB_RULES>;

export type GitHubAuth =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'app'; readonly appId: string; readonly privateKey: KeyObject };

export interface GitHubSettings {
  readonly auth: GitHubAuth;
  readonly webhookSecret: string;
  /** Of the REST API, without a slash at its end. */
  readonly githubApiUrl: string;
  /** Of whom logins are: `github.com`, or the host of an Enterprise Server. */
  readonly host: string;
  /** The platform, and the bot's key there. */
  readonly apiUrl: string;
  readonly apiKey: string;
  /** Where webhooks are listened for. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly rules: GitHubRules;
}

const SECRET_SHORTEST = 16;

/**
 * @param environment as the process has it
 * @param given the section `github` of `centaur.yaml`, unchecked
 * @throws SettingsError with everything that is wrong
 */
export function readGitHubSettings(environment: Environment, given: unknown): GitHubSettings {
  const problems: string[] = [];
  const { get, port, address, section } = createSettingsReader(environment, problems);
  const auth = readAuth(get, problems);
  const webhookSecret = get('GITHUB_WEBHOOK_SECRET') ?? '';
  if (webhookSecret === '')
    problems.push('GITHUB_WEBHOOK_SECRET: is missing: webhooks are checked with it; "centaur github setup" makes one');
  else if (webhookSecret.length < SECRET_SHORTEST)
    problems.push(`GITHUB_WEBHOOK_SECRET: expected at least ${SECRET_SHORTEST} characters; "centaur github setup" makes one`);
  const apiKey = get('GITHUBBOT_API_KEY') ?? '';
  if (apiKey === '') problems.push('GITHUBBOT_API_KEY: is missing: "centaur github key" makes one');
  const githubApiUrl = address('GITHUB_API_URL', 'https://api.github.com');
  const apiUrl = address('CENTAUR_API_URL', 'http://127.0.0.1:8080');
  const { hostname } = new URL(githubApiUrl);
  const listen = { host: get('GITHUB_BOT_HOST') ?? '127.0.0.1', port: port('GITHUB_BOT_PORT', 8084) };
  const rules = section('github', GITHUB_RULES, given);
  if (problems.length > 0 || auth === undefined || rules === undefined) throw new SettingsError(problems);
  return {
    auth,
    webhookSecret,
    githubApiUrl,
    host: hostname === 'api.github.com' ? 'github.com' : hostname,
    apiUrl,
    apiKey,
    listen,
    rules,
  };
}

function readAuth(get: (key: string) => string | undefined, problems: string[]): GitHubAuth | undefined {
  const token = get('GITHUB_BOT_TOKEN');
  const appId = get('GITHUB_APP_ID');
  const [pem, file] = [get('GITHUB_APP_PRIVATE_KEY'), get('GITHUB_APP_PRIVATE_KEY_FILE')];
  if (token !== undefined) {
    if (appId !== undefined)
      problems.push('GITHUB_BOT_TOKEN: is set beside GITHUB_APP_ID: set one of them, for a machine account or for an app');
    if (!/^[\x21-\x7e]+$/.test(token)) problems.push('GITHUB_BOT_TOKEN: expected a token without spaces, such as github_pat_…');
    return { kind: 'token', token };
  }
  if (appId === undefined) {
    problems.push(
      'GITHUB_BOT_TOKEN: is missing: the token of a machine account; or set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY for an app',
    );
    return undefined;
  }
  if (!/^[A-Za-z0-9.]{1,64}$/.test(appId)) problems.push('GITHUB_APP_ID: expected the id of the app, such as 123456');
  if ((pem === undefined) === (file === undefined)) {
    problems.push('GITHUB_APP_PRIVATE_KEY: set it, or GITHUB_APP_PRIVATE_KEY_FILE, to the key that GitHub made for the app');
    return undefined;
  }
  try {
    // in one line, as some platforms keep it
    const text = file === undefined ? (pem as string).replaceAll('\\n', '\n') : readFileSync(file, 'utf8');
    const privateKey = createPrivateKey(text);
    if (privateKey.asymmetricKeyType !== 'rsa') throw new Error('not an RSA key');
    return { kind: 'app', appId, privateKey };
  } catch {
    problems.push(`GITHUB_APP_PRIVATE_KEY${file === undefined ? '' : '_FILE'}: expected an RSA key in PEM, as GitHub gives it out`);
    return undefined;
  }
}
