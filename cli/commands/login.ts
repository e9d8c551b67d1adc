/** Signing in and out. A password is typed where it is not shown, or comes from stdin; never from an argument. */
import { createInterface } from 'node:readline/promises';
import { text as readStream } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { CentaurApiError } from '@centaur/sdk';
import type { Command } from 'commander';
import { readPerson, readPlace } from '../access.ts';
import { type Api, connect, type SessionState } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { clock, fields, note, paint, print, printJson, relative } from '../output.ts';
import { readHidden } from '../secret-value.ts';
import { keepSession } from '../session-file.ts';

interface LoginOptions {
  readonly name?: string;
  readonly sso?: true;
  readonly changePassword?: true;
  readonly passwordStdin?: true;
  readonly json?: true;
}

export function addLogin(program: Command): void {
  const login = program
    .command('login')
    .description('Sign in as a person: what you do is yours then in the audit log, and you may decide approvals.')
    .option('--name <name>', 'who you are; asked for when it is left out')
    .option('--sso', 'by the sign-in provider, with a code that is typed in a browser')
    .option('--change-password', 'choose another password; every other session of yours ends')
    .option('--password-stdin', 'read the password from the first line of stdin, and a new one from the second')
    .action(signIn);
  examples(withJson(login), 'centaur login --name ann', 'centaur login --sso');

  const logout = program
    .command('logout')
    .description('End your session here.')
    .action(async (options: { readonly json?: true }) => {
      const person = readPerson(process.env, 'there is no session to end');
      const { home, url } = readPlace(process.env);
      await connect(process.env, person)
        .signOut()
        .catch((error: unknown) => {
          // one that has ended already is what was asked for
          if (!(error instanceof CentaurApiError) || error.status !== 401) throw error;
        })
        .finally(() => keepSession(home, url, undefined));
      if (options.json) printJson({ signed_out: true });
      else print('signed out');
    });
  examples(withJson(logout), 'centaur logout');

  const whoami = program
    .command('whoami')
    .description('Show who is signed in, and what they may do.')
    .action(async (options: { readonly json?: true }) => {
      const session = await connect(process.env, readPerson(process.env, 'this shows a person')).getSession();
      if (options.json) printJson(session);
      else print(sessionText(session));
    });
  examples(withJson(whoami), 'centaur whoami');
}

async function signIn(options: LoginOptions): Promise<void> {
  const { home, url } = readPlace(process.env);
  // whatever key or session there is, is not shown
  const api = connect(process.env, { url, apiKey: undefined });
  if (options.sso && (options.name !== undefined || options.passwordStdin || options.changePassword))
    throw new UsageError('--sso: the provider says who you are; give neither a name nor a password');
  const { token, session } = options.sso ? await withCode(api) : await withPassword(api, options);
  keepSession(home, url, { token, name: session.user.name, expires_at: session.expires_at });
  if (options.json) return printJson(session);
  print(`signed in as ${session.user.name} (${session.user.role}) at ${url}, until ${clock(session.expires_at)}`);
  if ((process.env['CENTAUR_API_KEY'] ?? '') !== '')
    note('CENTAUR_API_KEY is set: it is still used for everything but what only a person may do');
}

async function withPassword(api: Api, options: LoginOptions) {
  const ask = options.passwordStdin ? await fromStdin() : atTerminal();
  const name = options.name ?? (await ask.name());
  const password = await ask.password('Password (it is not shown): ');
  try {
    return await api.signIn({ name, password, ...(options.changePassword ? { new_password: await ask.fresh() } : {}) });
  } catch (error) {
    if (!(error instanceof CentaurApiError) || error.code !== 'PASSWORD_CHANGE_REQUIRED' || options.changePassword) throw error;
    note('this password was made for you; choose your own, of at least 12 characters');
    return api.signIn({ name, password, new_password: await ask.fresh() });
  }
}

interface Asking {
  name(): Promise<string>;
  password(prompt: string): Promise<string>;
  /** A new password. */
  fresh(): Promise<string>;
}

async function fromStdin(): Promise<Asking> {
  const [password = '', fresh] = (await readStream(process.stdin)).split(/\r?\n/);
  return {
    name: () => Promise.reject(new UsageError('--name: with --password-stdin, say who you are')),
    password: () => Promise.resolve(password),
    fresh: () =>
      fresh === undefined || fresh === ''
        ? Promise.reject(new UsageError('--password-stdin: a new password is needed, on the second line'))
        : Promise.resolve(fresh),
  };
}

function atTerminal(): Asking {
  if (!process.stdin.isTTY)
    throw new UsageError('there is no terminal to type a password at: use --password-stdin, or --sso to sign in with a code');
  const hidden = async (prompt: string): Promise<string> => {
    const typed = await readHidden(prompt, process.stdin, process.stderr);
    if (typed === undefined) process.exit(EXIT.interrupted);
    return typed;
  };
  return {
    async name() {
      const lines = createInterface({ input: process.stdin, output: process.stderr });
      const name = await lines.question('Name: ');
      lines.close();
      return name.trim();
    },
    password: hidden,
    async fresh() {
      const [once, again] = [await hidden('New password: '), await hidden('New password, again: ')];
      if (once !== again) throw new UsageError('the two new passwords differ');
      return once;
    },
  };
}

async function withCode(api: Api) {
  const started = await api.startDevice();
  const to = started.verification_uri_complete ?? started.verification_uri;
  note(`open ${paint('bold', to, process.stderr)}\nand check that it shows the code ${paint('bold', started.user_code, process.stderr)}`);
  const until = Date.now() + started.expires_in * 1000;
  for (let interval = started.interval; Date.now() < until;) {
    await delay(interval * 1000);
    const polled = await api.pollDevice(started.handle);
    if (polled.status === 'done') return polled;
    interval = polled.interval;
  }
  throw new CentaurApiError(400, 'SIGN_IN_UNKNOWN', 'nobody typed the code in time: begin again');
}

function sessionText({ user, proven_at, expires_at, how }: SessionState): string {
  return fields(`${paint('bold', user.display_name)} (${user.role})`, {
    name: user.name,
    'roles of gates': user.roles.join(', '),
    'signed in by': how === 'oidc' ? 'the sign-in provider' : 'password',
    proven: Date.parse(proven_at) === 0 ? 'the provider did not say when' : `${clock(proven_at)} (${relative(proven_at)})`,
    until: clock(expires_at),
  });
}
