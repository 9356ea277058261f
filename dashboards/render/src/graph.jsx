// Series over time: Grafana's TimeSeries inside its panel frame. Annotations are lines of ours, drawn over it.
import React from 'react';
import { dateTime } from '@grafana/data';
import { PanelChrome, TimeSeries } from '@grafana/ui';
import { frames } from './frames.js';

function moments(annotations) {
  return (annotations ?? []).flatMap(({ annotation, series }) =>
    series.flatMap(({ legend, values }) => values.map(([at]) => ({ at: at * 1000, legend, color: annotation.iconColor }))));
}

function drawMoments(marks, theme) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.setLineDash([4, 4]);
    for (const { at, color } of marks) {
      const x = Math.round(plot.valToPos(at, 'x', true));
      ctx.strokeStyle = theme.visualization.getColorByName(color);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };
}

function Moments({ config, marks, theme }) {
  React.useLayoutEffect(() => { config.addHook('draw', drawMoments(marks, theme)); }, [config, marks, theme]);
  return null;
}

export function Graph({ panel, series, annotations, theme, range, width, height }) {
  const data = frames(panel, series, theme);
  const from = dateTime(range.begin);
  const to = dateTime(range.end);
  const marks = moments(annotations);
  return (
    <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
      {(innerWidth, innerHeight) => (data.length === 0 ? <div style={{ padding: 8 }}>No data</div> : (
        <TimeSeries
          frames={data} structureRev={1} width={innerWidth} height={innerHeight} timeRange={{ from, to, raw: { from, to } }} timeZone="utc"
          legend={panel.options.legend} options={panel.options}
        >
          {(config) => <Moments config={config} marks={marks} theme={theme} />}
        </TimeSeries>
      ))}
    </PanelChrome>
  );
}
