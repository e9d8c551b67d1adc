/** How long what is kept: one place, `retention` in centaur.yaml, over what the environment says. */
import { z } from 'zod';

const days = (least: number) => z.int().min(least).max(36_500);

export const RETENTION = z.strictObject({
  runs_days: days(1).optional(),
  webhook_deliveries_days: days(1).optional(),
  threads_days: days(1).optional(),
  tool_calls_days: days(1).optional(),
  leases_days: days(1).optional(),
  audit_days: days(7).optional(),
  audit_export: z.enum(['required', 'none']).optional(),
});
export type RetentionSettings = z.output<typeof RETENTION>;

/** In days; null: for ever. */
export interface RetentionPeriods {
  readonly runs: number;
  readonly webhookDeliveries: number;
  readonly threads: number | null;
  readonly toolCalls: number;
  readonly leases: number;
  readonly audit: number | null;
  /** Whether a part of the audit log that nobody has exported is kept beyond its time. */
  readonly auditExport: 'required' | 'none';
}

/** Long enough for whoever asks what a call or a lease was, which the audit log tells for longer. */
const DEFAULT_DAYS = 30;

export function retentionPeriods(
  environment: { readonly retentionDays: number; readonly auditRetentionDays: number | undefined },
  settings: RetentionSettings,
): RetentionPeriods {
  const runs = settings.runs_days ?? environment.retentionDays;
  return {
    runs,
    webhookDeliveries: settings.webhook_deliveries_days ?? runs,
    threads: settings.threads_days ?? null,
    toolCalls: settings.tool_calls_days ?? DEFAULT_DAYS,
    leases: settings.leases_days ?? DEFAULT_DAYS,
    audit: settings.audit_days ?? environment.auditRetentionDays ?? null,
    auditExport: settings.audit_export ?? 'required',
  };
}
