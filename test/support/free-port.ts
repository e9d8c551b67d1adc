import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * One that stays free until it is used: below those that a system gives to whoever wants any, as the tests beside this one do.
 * For programs that have to be told where to listen; what may choose for itself listens on 0.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(15_000, 32_000);
    const isFree = await new Promise<boolean>((resolve) => {
      const server = createServer()
        .once('error', () => resolve(false))
        .listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
