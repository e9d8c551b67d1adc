/** Tokens for GitHub: that of a machine account, or those of an app, which it gets for its own signature and which hold an hour. */
import { type KeyObject, sign } from 'node:crypto';

export interface NewToken {
  readonly token: string;
  readonly expiresAt: number;
}

/** A signature of the app's own, good for nine minutes. @param appId which is its issuer */
export function appJwt(appId: string, privateKey: KeyObject, now: number): string {
  const seconds = Math.floor(now / 1000);
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  // a minute ago: GitHub's clock may be behind
  const text = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode({ iat: seconds - 60, exp: seconds + 540, iss: appId })}`;
  return `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
}

export interface TokenCache {
  /** @throws whatever `make` throws: nothing of it is kept */
  get(installation: number): Promise<string>;
  /** It was refused: the next one is another. */
  drop(installation: number, token: string): void;
}

const BEFORE_ITS_END_MS = 5 * 60_000;

/** One token for each installation until shortly before its end, however many ask for it at a time. */
export function createTokenCache(make: (installation: number) => Promise<NewToken>, now: () => number): TokenCache {
  const known = new Map<number, NewToken>();
  const asked = new Map<number, Promise<NewToken>>();
  return {
    async get(installation) {
      const present = known.get(installation);
      if (present !== undefined && now() < present.expiresAt - BEFORE_ITS_END_MS) return present.token;
      const making =
        asked.get(installation) ??
        make(installation)
          .then((token) => {
            known.set(installation, token);
            return token;
          })
          .finally(() => asked.delete(installation));
      asked.set(installation, making);
      return (await making).token;
    },
    drop(installation, token) {
      if (known.get(installation)?.token === token) known.delete(installation);
    },
  };
}
