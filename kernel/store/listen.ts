import type pg from 'pg';
import type { StoreLogEntry } from './store.ts';

export type NotificationHandler = (payload: string) => void;

/** LISTEN on one connection that reconnects. Notifications are hints: whoever listens also polls, more slowly. */
export interface Listener {
  /** Hears `channel` from when the promise resolves; returns how to stop. */
  on(channel: string, handler: NotificationHandler): Promise<() => void>;
  /** Runs on each new connection before it is used, such as to take a session lock. Also called at once when already connected. */
  onConnect(hook: (client: pg.Client) => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

const RECONNECT_MS = [20, 50, 100, 250, 500, 1000, 2000];

export function createListener(connect: () => Promise<pg.Client>, log: (entry: StoreLogEntry) => void): Listener {
  const handlers = new Map<string, Set<NotificationHandler>>();
  const hooks: ((client: pg.Client) => Promise<void>)[] = [];
  let client: pg.Client | undefined;
  let connecting: Promise<void> | undefined;
  let closed = false;
  let connectedBefore = false;

  function ensure(): Promise<void> {
    if (client !== undefined || closed) return Promise.resolve();
    connecting ??= open().finally(() => {
      connecting = undefined;
    });
    return connecting;
  }

  async function open(): Promise<void> {
    for (let attempt = 0; !closed; attempt++) {
      let candidate: pg.Client | undefined;
      try {
        candidate = await connect();
        const opened = candidate;
        opened.on('notification', (message) => {
          for (const handler of handlers.get(message.channel) ?? []) handler(message.payload ?? '');
        });
        const lost = () => {
          if (client !== opened) return;
          client = undefined;
          void ensure();
        };
        opened.on('error', lost);
        opened.on('end', lost);
        for (const channel of handlers.keys()) await opened.query(`listen "${channel}"`);
        for (const hook of hooks) await hook(opened);
        client = opened;
        const again = connectedBefore;
        connectedBefore = true;
        // whatever was notified while we were away is unknown: let every listener look
        if (again) for (const set of handlers.values()) for (const handler of set) handler('');
        return;
      } catch (error) {
        await candidate?.end().catch(() => {});
        if (attempt === 0)
          log({ level: 'warn', message: 'cannot listen for notifications; trying again', error: (error as Error).message });
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS[Math.min(attempt, RECONNECT_MS.length - 1)]).unref());
      }
    }
  }

  return {
    async on(channel, handler) {
      if (!/^[a-z_0-9]+$/.test(channel)) throw new TypeError(`bad channel name ${channel}`);
      let set = handlers.get(channel);
      const isNew = set === undefined;
      if (set === undefined) handlers.set(channel, (set = new Set()));
      set.add(handler);
      if (isNew && client !== undefined) await client.query(`listen "${channel}"`);
      else await ensure();
      return () => {
        set.delete(handler);
      };
    },
    async onConnect(hook) {
      hooks.push(hook);
      if (client !== undefined) await hook(client);
      else await ensure();
    },
    async close() {
      closed = true;
      const open = client;
      client = undefined;
      await open?.end().catch(() => {});
    },
  };
}
