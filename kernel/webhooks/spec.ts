/**
 * From what a workflow file declares in `WEBHOOKS` to what is served: every shape that the original's two generations
 * took, read so that nothing doubtful is served. A webhook with a problem is left out whole; the others are not touched.
 */
import { type Fields, isRecord, type Problem, readFields } from './fields.ts';
import { parsePath } from './path.ts';
import { HEADER_NAME, readAuth } from './spec-auth.ts';
import { readFilter } from './spec-filter.ts';
import { DEFAULT_MAX_BODY_BYTES, LARGEST_MAX_BODY_BYTES, type TriggerKey, type WebhookSpec } from './types.ts';

export interface ParsedSpecs {
  readonly specs: readonly WebhookSpec[];
  readonly problems: readonly Problem[];
  /** Slugs of declarations that were refused: who made them wants them still. */
  readonly refused: readonly string[];
}

/** @param declared a webhook, a list of them, or nothing. @param field its name in the file, with which the problems' paths begin */
export function parseWebhookSpecs(declared: unknown, field = 'WEBHOOKS'): ParsedSpecs {
  if (declared === undefined || declared === null) return { specs: [], problems: [], refused: [] };
  const problems: Problem[] = [];
  const specs = new Map<string, WebhookSpec>();
  const refused = new Set<string>();
  const each = Array.isArray(declared) ? declared.map((item, i) => [item, `${field}[${i}]`] as const) : [[declared, field] as const];
  for (const [item, path] of each) {
    const { slug, spec, problems: found } = readSpec(item, path);
    problems.push(...found);
    if (spec === undefined && slug !== '') refused.add(slug);
    if (spec === undefined) continue;
    if (specs.has(spec.slug)) problems.push({ field: `${path}.slug`, message: `${spec.slug} is declared twice; the first is served` });
    else specs.set(spec.slug, spec);
  }
  return { specs: [...specs.values()], problems, refused: [...refused].filter((slug) => !specs.has(slug)) };
}

const SLUG = { pattern: /^[a-z0-9][a-z0-9._-]{0,127}$/, expected: '1 to 128 of a-z, 0-9, ".", "_" and "-", a letter or digit first' };
/** The chat bots' own routes. */
const RESERVED: readonly string[] = ['slack', 'github-bot'];
const PROVIDER = { pattern: /^[\x20-\x7e]{0,64}$/, expected: 'up to 64 characters' };
const STATIC = { pattern: /^(?=.*\S)[^\0]{1,256}$/s, expected: 'a text of 1 to 256 characters' };
const PATH = { pattern: /^.{1,200}$/, expected: 'a path such as "issue.number"' };

interface ReadSpec {
  /** Empty when there is none that could be one. */
  readonly slug: string;
  readonly spec: WebhookSpec | undefined;
  readonly problems: readonly Problem[];
}

function readSpec(declared: unknown, field: string): ReadSpec {
  const problems: Problem[] = [];
  // the first generation took a slug by itself, and served it to everybody: here its auth is missing
  const shape = typeof declared === 'string' ? { slug: declared } : declared;
  if (!isRecord(shape))
    return { slug: '', spec: undefined, problems: [{ field, message: 'expected a webhook: an object with slug and auth' }] };
  const fields = readFields(shape, field, problems);
  const slug = fields.requiredText('slug', SLUG);
  if (RESERVED.includes(slug)) fields.refuse('slug', `${slug} is reserved`);
  const provider = fields.text('provider', '', PROVIDER);
  const auth = readAuth(fields.take('auth'), fields.at('auth'), problems);
  const spec: WebhookSpec = {
    slug,
    provider: provider === '' ? null : provider,
    auth: auth ?? { type: 'none' },
    triggerKey: readTriggerKey(fields.take('trigger_key'), fields.at('trigger_key'), problems),
    allowedMethods: readMethods(fields),
    allowedContentTypes: readContentTypes(fields),
    maxBodyBytes: fields.wholeNumber('max_body_bytes', DEFAULT_MAX_BODY_BYTES, 1, LARGEST_MAX_BODY_BYTES),
    rateLimit: readRateLimit(fields.take('rate_limit'), fields.at('rate_limit'), problems),
    filter: readFilter(fields.take('filter'), fields.at('filter'), problems),
    enabled: readEnabled(fields),
  };
  fields.end();
  return { slug, spec: auth === undefined || problems.length > 0 ? undefined : spec, problems };
}

function readMethods(fields: Fields): readonly string[] {
  const methods = fields.take('allowed_methods', 'methods') ?? ['POST'];
  if (Array.isArray(methods) && methods.length > 0 && methods.every((each) => typeof each === 'string' && /^[A-Za-z]{1,20}$/.test(each))) {
    const upper = methods.map((each: string) => each.toUpperCase());
    // who asks for a head alone sends nothing, and asks again when it likes
    if (upper.includes('HEAD')) fields.refuse('allowed_methods', 'HEAD is never a delivery');
    return [...new Set(upper)];
  }
  fields.refuse('allowed_methods', 'expected a list of methods such as ["POST"]');
  return [];
}

/** JSON alone unless others are named, so that a form from a browser is none of them; a `*` stands for all. */
function readContentTypes(fields: Fields): readonly string[] | null {
  const types = fields.take('allowed_content_types', 'content_types') ?? ['application/json'];
  if (Array.isArray(types) && types.length > 0 && types.every((each) => typeof each === 'string' && MEDIA_TYPE.test(each))) {
    return types.some((each) => each === '*' || each === '*/*') ? null : [...new Set(types.map((each: string) => each.toLowerCase()))];
  }
  fields.refuse('allowed_content_types', 'expected a list of media types such as ["application/json"], or ["*/*"] for all');
  return [];
}

const MEDIA_TYPE = /^(?:\*|\*\/\*|[\w.+-]{1,64}\/[\w.+-]{1,64})$/;

function readEnabled(fields: Fields): boolean {
  const enabled = fields.take('enabled') ?? true;
  if (typeof enabled !== 'boolean') fields.refuse('enabled', 'expected true or false');
  return enabled === true;
}

function readTriggerKey(declared: unknown, field: string, problems: Problem[]): TriggerKey {
  if (declared === undefined) return { type: 'body' };
  // as both generations' static keys and the first one's HeaderTriggerKey
  const shape = typeof declared === 'string' ? { type: 'static', value: declared } : declared;
  if (!isRecord(shape)) {
    problems.push({ field, message: 'expected an object such as {type: "header", header: "X-GitHub-Delivery"}' });
    return { type: 'body' };
  }
  const fields = readFields(shape, field, problems);
  const key = readKeyOfType(fields);
  fields.end();
  return key;
}

function readKeyOfType(fields: Fields): TriggerKey {
  const type: unknown = fields.take('type', 'kind') ?? 'header';
  switch (type) {
    case 'header':
      return { type, header: fields.requiredText('header', HEADER_NAME, 'name').toLowerCase() };
    case 'static':
      return { type, value: fields.requiredText('value', STATIC).trim() };
    case 'json_path': {
      const path = fields.requiredText('path', PATH);
      if (path !== '' && parsePath(path) === undefined) fields.refuse('path', `expected ${PATH.expected}`);
      return { type, path };
    }
    case 'body':
      return { type };
    default:
      fields.refuse('type', 'expected header, static, json_path or body');
      return { type: 'body' };
  }
}

function readRateLimit(declared: unknown, field: string, problems: Problem[]): WebhookSpec['rateLimit'] {
  if (declared === undefined) return null;
  if (!isRecord(declared)) {
    problems.push({ field, message: 'expected an object such as {limit: 100, period_seconds: 60}' });
    return null;
  }
  const fields = readFields(declared, field, problems);
  if (!('limit' in declared)) fields.refuse('limit', 'is missing');
  const limit = fields.wholeNumber('limit', 1, 1, 1_000_000);
  const periodSeconds = fields.wholeNumber('period_seconds', 1, 1, 86_400);
  fields.end();
  return { limit, periodSeconds };
}
