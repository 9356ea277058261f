// A single figure: Grafana's BigValue inside its panel frame, the last value that is a number, with its history behind it.
import React from 'react';
import { BigValue, PanelChrome } from '@grafana/ui';
import { frames } from './frames.js';

export function Figure({ panel, series, theme, width, height }) {
  const frame = frames(panel, series, theme)[0];
  return (
    <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
      {(innerWidth, innerHeight) => {
        if (!frame) return <div style={{ padding: 8 }}>No data</div>;
        const [time, field] = frame.fields;
        const last = [...field.values].reverse().find((value) => value !== null);
        return (
          <BigValue
            width={innerWidth} height={innerHeight} theme={theme} value={field.display(last)}
            colorMode={panel.options.colorMode} graphMode={panel.options.graphMode} sparkline={{ x: time, y: field }}
          />
        );
      }}
    </PanelChrome>
  );
}
