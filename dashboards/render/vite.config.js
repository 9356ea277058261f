import react from '@vitejs/plugin-react';

// Grafana's packages expect what its own build defines.
export default {
  plugins: [react()],
  base: './',
  define: { 'process.env.NODE_ENV': '"production"', 'process.env.FRONTEND_DEV_FAIL_ON_I18N': '""' },
  build: { target: 'esnext', minify: false, chunkSizeWarningLimit: 20000 },
};
