/** What every signal of OTLP has in common as JSON (https://github.com/open-telemetry/opentelemetry-proto, `common/v1`). */

export type OtlpValue = string | number | boolean;

export function otlpAttributes(of: Readonly<Record<string, OtlpValue>>): object[] {
  return Object.entries(of).map(([key, value]) => ({ key, value: toValue(value) }));
}

function toValue(value: OtlpValue): object {
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'string') return { stringValue: value.toWellFormed() };
  // a 64-bit number is a text in JSON
  if (Number.isSafeInteger(value)) return { intValue: String(value) };
  // JSON has null for it, for which a receiver refuses the whole request
  return Number.isFinite(value) ? { doubleValue: value } : { stringValue: String(value) };
}

/** @param ms Unix time, with fractions */
export function nanoseconds(ms: number): string {
  const whole = Math.floor(ms);
  return String(BigInt(whole) * 1_000_000n + BigInt(Math.round((ms - whole) * 1_000_000)));
}
