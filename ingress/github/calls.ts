/**
 * Calling GitHub's REST API with `fetch` and nothing else: a library's own retries and throttling would write twice, or at a pace of
 * each client's own. What is written goes one after the other at one pace for the process, and waits as long as GitHub asks for.
 */
import { LONGEST_DRAW_MS, pause } from '../chat/index.ts';
import { appJwt, createTokenCache } from './auth.ts';
import type { Self } from './context.ts';
import { FRESH_PACE, hasRoom, limitOf, noteEnd, notePause, noteWrite, type Pace, writeAt } from './pace.ts';
import type { GitHubAuth } from './settings.ts';

/** Which repository a call is about, and for an app, the installation whose token it needs. */
export interface Scope {
  readonly repo: string;
  readonly installation: number | null;
}

/** Until when it may be written, and whether it still may be: asked right before it is. */
export interface Hold {
  readonly signal: AbortSignal;
  /** Of whoever holds a claim: then the call takes no longer than what the claim is good for. @throws when it is lost */
  readonly throwIfLost?: () => void;
}

export type Write = 'POST' | 'PATCH' | 'DELETE';

export interface GitHubCalls {
  /** @param path below the repository, such as `/issues/7` @throws GitHubRefused; GitHubNotNow; GitHubSilent */
  read<Answer>(scope: Scope, path: string, signal: AbortSignal): Promise<Answer>;
  /** Waits for its turn. @throws GitHubRefused; GitHubNotNow; GitHubSilent when nobody knows whether it was done */
  write<Answer>(scope: Scope, method: Write, path: string, body: object, hold: Hold): Promise<Answer>;
  /** Whether there is room to write what nobody would miss. */
  hasRoom(): boolean;
  /** Who we are. @throws GitHubRefused when the credentials are */
  self(signal: AbortSignal): Promise<Self>;
  /** As the app, or as the account: what is about no repository. */
  account<Answer>(path: string, signal: AbortSignal): Promise<{ readonly body: Answer; readonly headers: Headers }>;
}

export class GitHubRefused extends Error {
  override readonly name = 'GitHubRefused';
  readonly status: number;
  constructor(status: number, what: string, message: string) {
    super(`${what}: ${status} ${message}`.slice(0, 400));
    this.status = status;
  }
}

/** Nothing was done, and the same call may be taken later: a limit that did not end, or an installation that is suspended. */
export class GitHubNotNow extends Error {
  override readonly name = 'GitHubNotNow';
}

/** There was no answer, or one that says nothing: it may have been done. */
export class GitHubSilent extends Error {
  override readonly name = 'GitHubSilent';
}

const TRIES = 6;
const TIMEOUT_MS = 30_000;
const SUSPENDED = /\bsuspended\b/i;
const READ_AGAIN_MS = 500;
/** Writes that are in line, a second each, before what nobody would miss is left out. */
const MOST_WAITING = 5;

export interface CallsOptions {
  readonly auth: GitHubAuth;
  readonly apiUrl: string;
  readonly now: () => number;
}

export function createGitHubCalls({ auth, apiUrl, now }: CallsOptions): GitHubCalls {
  let pace: Pace = FRESH_PACE;
  let line: Promise<void> = Promise.resolve();
  let waiting = 0;
  const installations = new Map<string, number>();
  const never = new AbortController().signal;

  const tokens = createTokenCache(async (installation) => {
    const { token, expires_at: expiresAt } = await asApp<{ token: string; expires_at: string }>(
      'POST',
      `/app/installations/${installation}/access_tokens`,
    );
    return { token, expiresAt: Date.parse(expiresAt) };
  }, now);

  async function asApp<Answer>(method: string, path: string): Promise<Answer> {
    return (await ask<Answer>(method, path, undefined, async () => ownToken(), { signal: never })).body;
  }

  const ownToken = (): string => (auth.kind === 'token' ? auth.token : appJwt(auth.appId, auth.privateKey, now()));

  async function installationOf({ repo, installation }: Scope): Promise<number> {
    return installations.get(repo) ?? installation ?? findInstallation(repo);
  }

  async function findInstallation(repo: string): Promise<number> {
    const { id } = await asApp<{ id: number }>('GET', `/repos/${repo}/installation`);
    installations.set(repo, id);
    return id;
  }

  /** Again for as long as it is refused because of a limit: then nothing was done. */
  async function ask<Answer>(
    method: string,
    path: string,
    body: object | undefined,
    token: (refused?: string) => Promise<string>,
    { signal, throwIfLost }: Hold,
    ready: (signal: AbortSignal) => Promise<void> = unpaused,
  ): Promise<{ body: Answer; headers: Headers }> {
    const what = `${method} ${path.replace(/\?.*/, '')}`;
    let refused: string | undefined;
    for (let tries = 0; ; tries++) {
      const key = await token(refused);
      await ready(signal);
      throwIfLost?.();
      const answer = await once(what, `${apiUrl}${path}`, method, key, body, throwIfLost === undefined ? TIMEOUT_MS : LONGEST_DRAW_MS);
      if (ready === mayWrite) pace = noteEnd(pace, now());
      if (answer.status < 300) return { body: answer.body as Answer, headers: answer.headers };
      const message = (answer.body as { message?: unknown } | undefined)?.message;
      const words = typeof message === 'string' ? message : '';
      const until = limitOf({ status: answer.status, header: (name) => answer.headers.get(name), message: words }, tries, now());
      if (until !== undefined && tries < TRIES) {
        pace = notePause(pace, until);
        continue;
      }
      if (answer.status === 401 && refused === undefined) {
        // of an app it may have been withdrawn, or its hour is over by their clock
        refused = key;
        continue;
      }
      if (until !== undefined || (answer.status === 403 && SUSPENDED.test(words)))
        throw new GitHubNotNow(`${what}: ${answer.status} ${words}`.slice(0, 400));
      throw new GitHubRefused(answer.status, what, words);
    }
  }

  async function once(what: string, url: string, method: string, token: string, body: object | undefined, timeoutMs: number) {
    try {
      const response = await fetch(url, {
        method,
        headers: {
          accept: 'application/vnd.github+json',
          authorization: `Bearer ${token}`,
          'user-agent': 'centaur',
          'x-github-api-version': '2022-11-28',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        // the token goes to no other address than the one that was set
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
      });
      const text = await response.text();
      if (response.status >= 500) throw new Error(`status ${response.status}`);
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : (JSON.parse(text) as unknown) };
    } catch (error) {
      const { message, cause } = error as Error;
      throw new GitHubSilent(`${what}: ${(cause as Error | undefined)?.message ?? message}`, { cause: error });
    }
  }

  function tokenFor(scope: Scope): (refused?: string) => Promise<string> {
    return async (refused) => {
      if (auth.kind === 'token') return auth.token;
      const installation = await installationOf(scope);
      if (refused !== undefined) tokens.drop(installation, refused);
      try {
        return await tokens.get(installation);
      } catch (error) {
        if (!(error instanceof GitHubRefused) || (error.status !== 401 && error.status !== 404)) throw error;
        // taken away, and perhaps installed anew, which has another id
        installations.delete(scope.repo);
        const found = await findInstallation(scope.repo);
        if (found === installation) throw error;
        return tokens.get(found);
      }
    };
  }

  async function unpaused(signal: AbortSignal): Promise<void> {
    for (let until = pace.pausedUntil; until > now(); until = pace.pausedUntil) {
      await pause(until - now(), signal);
      signal.throwIfAborted();
    }
  }

  /** When the pace has room for it; then its place is taken. */
  async function mayWrite(signal: AbortSignal): Promise<void> {
    for (let at = writeAt(pace, now()); at > now(); at = writeAt(pace, now())) {
      signal.throwIfAborted();
      await pause(at - now(), signal);
    }
    signal.throwIfAborted();
    pace = noteWrite(pace, now());
  }

  /** One at a time, in the order in which they were asked for. */
  async function inLine<T>(act: () => Promise<T>): Promise<T> {
    const before = line;
    const mine = Promise.withResolvers<void>();
    line = mine.promise;
    waiting++;
    try {
      await before;
      return await act();
    } finally {
      pace = noteEnd(pace, now());
      waiting--;
      mine.resolve();
    }
  }

  async function account<Answer>(path: string, signal: AbortSignal): Promise<{ body: Answer; headers: Headers }> {
    return ask<Answer>('GET', path, undefined, async () => ownToken(), { signal });
  }

  return {
    account,
    async read<Answer>(scope: Scope, path: string, signal: AbortSignal) {
      for (let tries = 1; ; tries++) {
        try {
          return (await ask<Answer>('GET', `/repos/${scope.repo}${path}`, undefined, tokenFor(scope), { signal })).body;
        } catch (error) {
          if (!(error instanceof GitHubSilent) || tries >= 3) throw error;
          await pause(READ_AGAIN_MS * tries, signal);
          signal.throwIfAborted();
        }
      }
    },
    write: <Answer>(scope: Scope, method: Write, path: string, body: object, hold: Hold) =>
      inLine(async () => (await ask<Answer>(method, `/repos/${scope.repo}${path}`, body, tokenFor(scope), hold, mayWrite)).body),
    hasRoom: () => waiting < MOST_WAITING && hasRoom(pace, now()),
    async self(signal) {
      if (auth.kind === 'token') {
        const { login } = (await account<{ login: string }>('/user', signal)).body;
        return { login, name: login };
      }
      const { slug } = (await account<{ slug: string }>('/app', signal)).body;
      return { login: `${slug}[bot]`, name: slug };
    },
  };
}
