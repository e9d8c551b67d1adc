/** Google: access tokens from a service account's key, or from the machine's metadata service. */
import { createSign } from 'node:crypto';
import { readFile } from 'node:fs/promises';

export interface ServiceAccount {
  readonly client_email: string;
  readonly private_key: string;
  readonly private_key_id?: string;
  readonly token_uri: string;
}

export const CLOUD_SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
export const GOOGLE_TOKEN_URL = 'https://oauth2.googleapis.com/token';

/** A signed statement that its holder may have a token: RFC 7523. */
export function serviceAccountAssertion(account: ServiceAccount, claims: Readonly<Record<string, unknown>>, nowMs: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const seconds = Math.floor(nowMs / 1000);
  const header = { alg: 'RS256', typ: 'JWT', ...(account.private_key_id === undefined ? {} : { kid: account.private_key_id }) };
  const signed = `${part(header)}.${part({ iss: account.client_email, aud: account.token_uri, iat: seconds, exp: seconds + 3600, ...claims })}`;
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(account.private_key, 'base64url')}`;
}

/** For this process's own calls. */
export async function googleToken(environment: Readonly<Record<string, string | undefined>>): Promise<string> {
  const file = environment['GOOGLE_APPLICATION_CREDENTIALS'];
  const signal = AbortSignal.timeout(10_000);
  let response: Response;
  if (file === undefined) {
    const host = environment['GCE_METADATA_HOST'] ?? 'metadata.google.internal';
    response = await fetch(`http://${host}/computeMetadata/v1/instance/service-accounts/default/token`, {
      headers: { 'metadata-flavor': 'Google' },
      signal,
    });
  } else {
    const account = JSON.parse(await readFile(file, 'utf8')) as ServiceAccount;
    const assertion = serviceAccountAssertion(
      { ...account, token_uri: account.token_uri ?? GOOGLE_TOKEN_URL },
      { scope: CLOUD_SCOPE },
      Date.now(),
    );
    const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion });
    response = await fetch(account.token_uri ?? GOOGLE_TOKEN_URL, { method: 'POST', body, signal });
  }
  if (!response.ok) throw new Error(`Google answered ${response.status} for a token`);
  const { access_token: token } = (await response.json()) as { access_token?: string };
  if (token === undefined) throw new Error('Google answered without a token');
  return token;
}
