import type { Store } from '../store/index.ts';
export async function applyRetention(_s: Store, _o: { retentionDays: number; now: Date }): Promise<void> {}
