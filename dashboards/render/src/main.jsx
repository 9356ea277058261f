// Draws one dashboard of data.json with Grafana's own panel components. Not Grafana: no server, no variables, no queries, and the
// layout is ours. `?dashboard=TITLE&theme=light` chooses.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { ThemeContext, createTheme } from '@grafana/data';
import { GlobalStyles } from '@grafana/ui';
import { Figure } from './figure.jsx';
import { Graph } from './graph.jsx';

const COLUMN = 60;
const ROW = 38;

const wanted = new URLSearchParams(window.location.search);
const theme = createTheme({ colors: { mode: wanted.get('theme') ?? 'dark' } });

function Place({ at, children }) {
  const style = { position: 'absolute', left: at.x * COLUMN, top: at.y * ROW, width: at.w * COLUMN, height: at.h * ROW, padding: 4, boxSizing: 'border-box' };
  return <div style={style}>{children({ width: at.w * COLUMN - 8, height: at.h * ROW - 8 })}</div>;
}

function Page({ data, title }) {
  const page = data.dashboards[title];
  const range = { begin: data.begin * 1000, end: data.end * 1000 };
  const bottom = Math.max(...page.panels.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  const colors = theme.colors;
  return (
    <div style={{ background: colors.background.canvas, color: colors.text.primary, width: 24 * COLUMN + 24, padding: 12, boxSizing: 'border-box' }}>
      <h3 style={{ margin: '4px 4px 8px' }}>{title}</h3>
      <div style={{ position: 'relative', height: bottom * ROW }}>
        {page.rows.map((row) => (
          <Place key={row.title} at={row.gridPos}>{() => <div style={{ fontWeight: 500, paddingTop: 6 }}>{row.title}</div>}</Place>
        ))}
        {page.panels.map((each) => (
          <Place key={each.panel.id} at={each.panel.gridPos}>
            {(size) => (each.panel.type === 'stat'
              ? <Figure {...each} {...size} theme={theme} />
              : <Graph {...each} {...size} theme={theme} range={range} annotations={page.annotations} />)}
          </Place>
        ))}
      </div>
    </div>
  );
}

const data = await (await fetch('data.json')).json();
const title = wanted.get('dashboard') ?? Object.keys(data.dashboards)[0];
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}><GlobalStyles /><Page data={data} title={title} /></ThemeContext.Provider>,
);
