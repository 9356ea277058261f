// Series of Prometheus → Grafana's data frames with the panel's units, colours and limits.
import { FieldType, applyFieldOverrides, toDataFrame } from '@grafana/data';

export function frames(panel, series, theme) {
  const { custom, ...defaults } = panel.fieldConfig?.defaults ?? {};
  const made = series.map(({ refId, legend, values }) => toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: values.map(([at]) => at * 1000) },
      {
        name: legend,
        type: FieldType.number,
        values: values.map(([, value]) => (Number.isFinite(Number(value)) ? Number(value) : null)),
        // Grafana's application registers which options a field may have; here they are given to the field itself.
        config: { ...defaults, displayName: legend, custom: custom ?? {} },
      },
    ],
  }));
  const fieldConfig = { defaults: {}, overrides: [] };
  return applyFieldOverrides({ data: made, fieldConfig, replaceVariables: (text) => text, theme, timeZone: 'utc' });
}
