/** A process that seals journals, and nothing else, until it is killed: `journal-sealer.ts <database> <master key>`. */
import { createJournalSealer } from '../../kernel/journal/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { localMasterKey, openInstallation } from '../../kernel/vault/index.ts';

const [url = '', master = ''] = process.argv.slice(2);
const store = await connectStore({ url });
const { audit } = await openInstallation({ store, master: localMasterKey(Buffer.from(master, 'hex')) });
createJournalSealer({ store, audit, everyMs: 5, settleMs: 0 });
setInterval(() => undefined, 60_000);
