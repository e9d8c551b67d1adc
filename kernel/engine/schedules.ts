import type { Store } from '../store/index.ts';
import type { RegisteredWorkflow, ScheduleView } from './types.ts';
export async function syncSchedules(_s: Store, _r: readonly RegisteredWorkflow[]): Promise<{ problems: string[] }> { return { problems: [] }; }
export async function runDueSchedules(_s: Store): Promise<number> { return 0; }
export async function listSchedules(_s: Store): Promise<ScheduleView[]> { return []; }
export async function nextScheduleAt(_s: Store): Promise<Date | null> { return null; }
