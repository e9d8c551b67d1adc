/**
 * Where the API is, and what is shown to it: the key that was given, or the session of who is signed in there, or else the admin key of this
 * machine. What only a person may do is never done with a key.
 *
 * An environment as it mostly is, is read here by itself: the whole check is `loadConfig`, and loading what that needs
 * takes longer than everything else a command does. Whatever is not plainly right is left to it, so there is one place
 * that says what is wrong.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import path from 'node:path';
import type * as ConfigModule from '@centaur/kernel/config';
import { HintedError } from './exit.ts';
import { readSession } from './session-file.ts';

export interface Access {
  readonly url: string;
  readonly apiKey: string | undefined;
}

/** Only what a client needs: a variable that is wrong for a server must not keep anyone from asking one. @throws ConfigError */
export function readAccess(environment: NodeJS.ProcessEnv): Access {
  const { apiUrl, apiKey, home } = readSettings(environment);
  return { url: apiUrl, apiKey: apiKey ?? readSession(home, apiUrl)?.token ?? readKeyFile(home) };
}

/**
 * For what only a person may do: by their session, whatever key there is.
 *
 * @param why `approvals are decided by people`
 * @throws HintedError without a session
 */
export function readPerson(environment: NodeJS.ProcessEnv, why: string): Access {
  const { apiUrl, home } = readSettings(environment);
  const session = readSession(home, apiUrl);
  if (session === undefined) throw new HintedError(`${why}, and nobody is signed in to ${apiUrl}`, 'Sign in with "centaur login".');
  return { url: apiUrl, apiKey: session.token };
}

/** Where sessions are kept, and for which API. */
export function readPlace(environment: NodeJS.ProcessEnv): { readonly home: string; readonly url: string } {
  const { apiUrl, home } = readSettings(environment);
  return { home, url: apiUrl };
}

function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const { HOME, PORT, CENTAUR_HOME, CENTAUR_API_URL, CENTAUR_API_KEY } = environment;
  const given = { HOME, PORT, CENTAUR_HOME, CENTAUR_API_URL, CENTAUR_API_KEY };
  return readPlain(given) ?? loadWhole(given);
}

type Given = Readonly<Record<'HOME' | 'PORT' | 'CENTAUR_HOME' | 'CENTAUR_API_URL' | 'CENTAUR_API_KEY', string | undefined>>;
type Settings = Pick<ConfigModule.Config, 'apiUrl' | 'apiKey' | 'home'>;

/** Undefined for what needs the whole check. It may take less than that takes, and nothing else. An empty variable is an unset one. */
function readPlain(given: Given): Settings | undefined {
  const port = given.PORT || '8080';
  const apiUrl = given.CENTAUR_API_URL || `http://127.0.0.1:${port}`;
  const apiKey = given.CENTAUR_API_KEY || undefined;
  if (!/^(?:0|[1-9]\d{0,4})$/.test(port) || Number(port) > 65_535) return undefined;
  if (!/^https?:\/\/[a-z\d.-]+(?::\d+)?(?:\/[\w./-]*)?$/.test(apiUrl) || !URL.canParse(apiUrl)) return undefined;
  if (apiKey !== undefined && !/^[\x21-\x7e]{16,512}$/.test(apiKey)) return undefined;
  return {
    apiUrl: apiUrl.replace(/\/$/, ''),
    apiKey,
    home: path.resolve(given.CENTAUR_HOME || path.join(given.HOME || homedir(), '.centaur')),
  };
}

function loadWhole(given: Given): Settings {
  const { loadConfig } = createRequire(import.meta.url)('@centaur/kernel/config') as typeof ConfigModule;
  return loadConfig(given);
}

function readKeyFile(home: string): string | undefined {
  try {
    return readFileSync(path.join(home, 'admin.key'), 'utf8').trim();
  } catch {
    // Also when it belongs to somebody else: the API then says that a key is needed
    return undefined;
  }
}
