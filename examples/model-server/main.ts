/**
 * The scripted model server by itself: MODEL_SERVER_KEY=… node examples/model-server/main.ts [--port 8090]
 *
 * With --cert and --private-key, two PEM files, it speaks HTTPS. With --with-input it ends when its standard input does. The key is taken from the environment and printed nowhere.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createModelServer } from './index.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8090' },
    cert: { type: 'string' },
    'private-key': { type: 'string' },
    'with-input': { type: 'boolean' },
  },
});
const key = process.env.MODEL_SERVER_KEY;
if (key === undefined || key === '') {
  console.error('MODEL_SERVER_KEY is not set: it is the key that callers must present. Choose any of 8 characters or more.');
  process.exit(2);
}
const { cert, 'private-key': privateKey } = values;
if ((cert === undefined) !== (privateKey === undefined)) {
  console.error('--cert and --private-key belong together.');
  process.exit(2);
}
const tls =
  cert === undefined || privateKey === undefined
    ? {}
    : { tls: { cert: readFileSync(cert, 'utf8'), key: readFileSync(privateKey, 'utf8') } };
const server = await createModelServer({ key, port: Number(values.port), ...tls });
console.log(`model server at ${server.url}`);
if (values['with-input'] === true) process.stdin.once('end', () => void server.close()).resume();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void server.close());
