/**
 * The Slack of the package `emulate`, mounted on its plug-in interface with our tables and without a port of its own: it answers
 * the methods that we do not (users, channels, reactions, files …).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { emulateModule } from '../programs.ts';
import type { Tables } from './tables.ts';
import type { Json } from './world.ts';

/** What its plug-in dispatches, instead of to webhooks of its own. */
export type Dispatched = (event: Json) => void;

export interface EmulatedSlack {
  fetch(request: Request): Promise<Response>;
  close(): Promise<void>;
}

interface Plugin {
  register(app: unknown, store: unknown, webhooks: unknown, url: string, tokens: Map<string, unknown>): void;
}

export async function mountEmulate(tables: Tables, url: string, dispatched: Dispatched): Promise<EmulatedSlack> {
  const dist = join(emulateModule(), 'dist');
  const { createEmulator, defineEmulator } = (await load(join(dist, 'api.js'))) as {
    defineEmulator(definition: unknown): unknown;
    createEmulator(options: unknown): Promise<EmulatedSlack>;
  };
  // the package exports its own services only by name: the plug-in is in one of its chunks
  const chunk = readdirSync(dist).find((name) => isSlack(dist, name));
  if (chunk === undefined) throw new Error('emulate has no Slack plug-in any more: see its dist folder.');
  const { slackPlugin } = (await load(join(dist, chunk))) as { slackPlugin: Plugin };
  tables.setData('slack.strict_scopes', true);

  const webhooks = {
    setHeaderFactory: () => undefined,
    getSubscriptions: () => [],
    getDeliveries: () => [],
    dispatch: async (_type: string, _action: unknown, payload: { readonly event: Json }) => dispatched(payload.event),
  };
  const service = defineEmulator({
    name: 'slack-workspace',
    state: () => ({}),
    cors: false,
    setup: ({ app }: { readonly app: unknown }) => slackPlugin.register(app, tables, webhooks, url, new Map()),
  });
  return createEmulator({ service, listen: false, baseUrl: url });
}

function isSlack(dist: string, name: string): boolean {
  return /^dist-.*\.js$/.test(name) && readFileSync(join(dist, name), 'utf8').includes('\n  slackPlugin\n};');
}

function load(file: string): Promise<unknown> {
  return import(pathToFileURL(file).href);
}
