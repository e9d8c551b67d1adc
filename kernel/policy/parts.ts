import type { AuditLog } from '../audit/index.ts';
import type { Store } from '../store/index.ts';

/** What is needed to change something here: where it is, and where that is recorded. */
export interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
}
