/** The API as the commands use it: the SDK's client, and the few calls that only operators make. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { loadConfig } from '@centaur/kernel/config';
import { CentaurApiError, createClient, type Client, type Page, type Schedule, type WorkflowView } from '@centaur/sdk';

export interface QueueView {
  readonly name: string;
  readonly concurrency: number | null;
  readonly concurrency_per_key: number | null;
  readonly rate_limit: { readonly limit: number; readonly period_ms: number } | null;
  readonly queued: number;
  readonly running: number;
}

export interface KeyView {
  readonly key_id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

export interface FileProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}

export interface LoadedWorkflow extends WorkflowView {
  readonly source: string | null;
  readonly queue: string;
  readonly schedules: readonly Schedule[];
}

export interface Api extends Client {
  readonly url: string;
  listLoaded(): Promise<Page<LoadedWorkflow> & { readonly problems: readonly FileProblem[] }>;
  listQueues(): Promise<Page<QueueView>>;
  setQueue(name: string, limits: Partial<Pick<QueueView, 'concurrency' | 'concurrency_per_key' | 'rate_limit'>>): Promise<QueueView>;
  listKeys(): Promise<Page<KeyView>>;
  createKey(key: { readonly name: string; readonly scopes: readonly string[] }): Promise<KeyView & { readonly key: string }>;
  revokeKey(keyId: string): Promise<KeyView>;
}

export function connect(environment: NodeJS.ProcessEnv = process.env): Api {
  const { url, apiKey } = readAccess(environment);
  const send = <T>(method: string, route: string, body?: object) => request<T>(url, apiKey, method, route, body);
  return {
    ...createClient({ url, ...(apiKey === undefined ? {} : { apiKey }) }),
    url,
    listLoaded: () => send('GET', '/workflows'),
    listQueues: () => send('GET', '/workflows/queues'),
    setQueue: (name, limits) => send('PUT', `/workflows/queues/${encodeURIComponent(name)}`, limits),
    listKeys: () => send('GET', '/keys'),
    createKey: (key) => send('POST', '/keys', key),
    revokeKey: (keyId) => send('DELETE', `/keys/${encodeURIComponent(keyId)}`),
  };
}

/** Only what a client needs: a variable that is wrong for a server must not keep anyone from asking one. */
export function readAccess(environment: NodeJS.ProcessEnv): { readonly url: string; readonly apiKey: string | undefined } {
  const { HOME, PORT, CENTAUR_HOME, CENTAUR_API_URL, CENTAUR_API_KEY } = environment;
  const config = loadConfig({ HOME, PORT, CENTAUR_HOME, CENTAUR_API_URL, CENTAUR_API_KEY });
  return { url: config.apiUrl, apiKey: config.apiKey ?? readKeyFile(config.home) };
}

function readKeyFile(home: string): string | undefined {
  try {
    return readFileSync(path.join(home, 'admin.key'), 'utf8').trim();
  } catch {
    // Also when it belongs to somebody else: the API then says that a key is needed
    return undefined;
  }
}

async function request<T>(url: string, apiKey: string | undefined, method: string, route: string, body?: object): Promise<T> {
  const base = `${url.replace(/\/api$/, '')}/api`;
  let response: Response;
  let text: string;
  try {
    response = await fetch(base + route, {
      method,
      headers: {
        ...(apiKey === undefined ? {} : { 'x-api-key': apiKey }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    text = await response.text();
  } catch (error) {
    const cause = (error as Error).cause as Error | undefined;
    throw new CentaurApiError(0, 'UNREACHABLE', `no answer from ${base}: ${(cause ?? (error as Error)).message}`, { cause: error });
  }
  let answer: Record<string, unknown>;
  try {
    answer = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new CentaurApiError(response.status, 'NOT_JSON', `${base} did not answer in JSON; is it the Centaur API?`, { cause: error });
  }
  if (response.ok) return answer as T;
  const { code, message, details } = answer;
  throw new CentaurApiError(response.status, String(code), String(message), { details });
}
