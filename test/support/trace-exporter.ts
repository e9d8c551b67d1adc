/** A process that exports traces of DATABASE_URL to OTLP_URL: to be killed. */
import { connectStore } from '../../kernel/store/index.ts';
import { startTraceExport } from '../../kernel/traces/export.ts';

const { DATABASE_URL, OTLP_URL } = process.env as Record<string, string>;
startTraceExport({
  store: await connectStore({ url: DATABASE_URL as string }),
  receiver: { url: OTLP_URL as string, headers: {}, timeoutMs: 10_000, compression: 'none' },
  resource: { 'service.name': 'killed' },
  version: '1',
  ratio: 1,
  delayMs: 20,
  log: (entry) => console.error(JSON.stringify(entry)),
});
console.log('started');
setInterval(() => {}, 1000);
