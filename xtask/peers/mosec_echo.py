"""mosec serving an echo of 16 numbers with its batcher on; a peer in `cargo xtask bench gateway --peers`."""

from mosec import Server, Worker


class Echo(Worker):
    """Gives each request of a batch back."""

    def forward(self, data: list[dict]) -> list[dict]:
        return [{"y": row["x"]} for row in data]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1, max_batch_size=32, max_wait_time=2)
    server.run()
