/**
 * The `auth` of a declared webhook. It must be given: what the original took for "none" (a missing auth, an unknown
 * type, `kind` in place of `type`) made signed webhooks public. Messages never quote a value: it may be the secret.
 */
import { type Fields, isRecord, type Problem, type Rule, readFields } from './fields.ts';
import { DEFAULT_TOLERANCE_SECONDS, type HmacAuth, type WebhookAuth } from './types.ts';

export const HEADER_NAME: Rule = { pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, expected: 'the name of a header' };
/** As the vault's names and those of environment variables. */
const SECRET_REF: Rule = { pattern: /^[A-Za-z_][A-Za-z0-9_]{0,127}$/, expected: 'the name of a secret, such as GITHUB_WEBHOOK_SECRET' };
/** A comma stands between two headers of one name. */
const PREFIX: Rule = { pattern: /^[\x20-\x2b\x2d-\x7e]{0,64}$/, expected: 'up to 64 characters, none of them a comma' };
const SCHEME: Rule = { pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]{0,32}$/, expected: 'a word such as Bearer' };

/** Undefined when there is a problem. */
export function readAuth(declared: unknown, field: string, problems: Problem[]): WebhookAuth | undefined {
  if (declared === 'none') return { type: 'none' };
  if (declared === undefined || !isRecord(declared)) {
    const given = declared === undefined ? 'is missing: ' : '';
    problems.push({ field, message: `${given}expected an object with a type, or "none" for a webhook that everybody may call` });
    return undefined;
  }
  const before = problems.length;
  const fields = readFields(declared, field, problems);
  const auth = readOfType(fields, declared);
  fields.end();
  return problems.length > before ? undefined : auth;
}

function readOfType(fields: Fields, declared: Readonly<Record<string, unknown>>): WebhookAuth | undefined {
  // the first generation's HmacAuth has no type
  const type: unknown = fields.take('type', 'kind') ?? ('secret_ref' in declared || 'secretRef' in declared ? 'hmac' : undefined);
  switch (type) {
    case 'none':
      return { type };
    case 'hmac':
      return readHmac(fields);
    case 'github':
    case 'github_hmac':
      return { type: 'github', secretRef: secretRef(fields) };
    case 'bearer':
      return {
        type,
        secretRef: secretRef(fields),
        header: fields.text('header', 'authorization', HEADER_NAME).toLowerCase(),
        scheme: fields.text('scheme', 'Bearer', SCHEME),
      };
    case 'slack':
    case 'stripe':
    case 'standard_webhooks':
      return { type, secretRef: secretRef(fields), toleranceSeconds: tolerance(fields) };
    default:
      fields.refuse('type', 'expected none, hmac, github, bearer, slack, stripe or standard_webhooks');
      return undefined;
  }
}

function readHmac(fields: Fields): HmacAuth {
  const algorithm = fields.oneOf('algorithm', 'sha256', ['sha1', 'sha256', 'sha512']);
  const auth: HmacAuth = {
    type: 'hmac',
    secretRef: secretRef(fields),
    header: fields.text('header', 'x-webhook-signature', HEADER_NAME, 'signature_header').toLowerCase(),
    prefix: fields.text('prefix', `${algorithm}=`, PREFIX, 'signature_prefix'),
    encoding: fields.oneOf('encoding', 'hex', ['hex', 'base64']),
    algorithm,
  };
  const timestampHeader = fields.text('timestamp_header', '', HEADER_NAME).toLowerCase();
  if (timestampHeader !== '') return { ...auth, timestampHeader, toleranceSeconds: tolerance(fields) };
  // without the header it would promise what nothing checks
  if (fields.take('tolerance_seconds', 'tolerance') !== undefined) fields.refuse('tolerance_seconds', 'needs a timestamp_header');
  return auth;
}

function secretRef(fields: Fields): string {
  return fields.requiredText('secret_ref', SECRET_REF);
}

/** A day at most: longer is no protection, and none at all is not offered. */
function tolerance(fields: Fields): number {
  return fields.wholeNumber('tolerance_seconds', DEFAULT_TOLERANCE_SECONDS, 1, 86_400, 'tolerance');
}
