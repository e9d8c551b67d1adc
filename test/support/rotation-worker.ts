/** A worker that makes rotations, in a process of its own, which kills itself with SIGKILL at the point that it is told. */
import { createEngine } from '../../kernel/engine/index.ts';
import { createRotations, type Rotations } from '../../kernel/rotation/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { rotateWorkflow } from '../../runtime/rotation/index.ts';
import { createRegistry } from './registry.ts';

const [url = '', masterKey = '', killAt = ''] = process.argv.slice(2);
const store = await connectStore({ url, poolSize: 5 });
const installation = await openInstallation({ store, master: localMasterKey(Buffer.from(masterKey, 'hex')), seal: { delayMs: 3_600_000 } });

/** `before mint`, `after mint`; `in secret.rotation_request`: with the transaction of that entry open. */
function passing(point: string): void {
  if (point === killAt) process.kill(process.pid, 'SIGKILL');
}

const { append } = installation.audit;
const audit: typeof installation.audit = {
  ...installation.audit,
  async append(tx, entry) {
    passing(`in ${entry.action}`);
    return append(tx, entry);
  },
};
const steps = createRotations({ ...installation, audit, log: (entry) => console.error(JSON.stringify(entry)) });
const wrapped = Object.fromEntries(
  Object.entries(steps).map(([name, step]) => [
    name,
    async (...args: readonly unknown[]) => {
      passing(`before ${name}`);
      const answer = await (step as (...given: readonly unknown[]) => Promise<unknown>)(...args);
      passing(`after ${name}`);
      return answer;
    },
  ]),
) as unknown as Rotations;
const { name, handler } = rotateWorkflow(wrapped, { maxAttempts: 2, delay: 20 });
const registry = createRegistry();
registry.define(name, handler);
const engine = await createEngine({ store, registry, leaseMs: 2000 });
await engine.work();
