"""A cable that can be cut: a socket for the host, and the board's pseudo-terminal behind it."""

import os
import select
import socket
import threading
import time

CUT_S = 0.05


class Cable:
    """Carries bytes between whoever connects to `port` and a board, until `cut`; then the next one may connect."""

    def __init__(self, board: str) -> None:
        self._board, self._cut, self._closed = board, threading.Event(), False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End the connection in the middle of whatever it carries."""
        self._cut.set()

    def close(self) -> None:
        self._closed = True
        self._cut.set()
        self._server.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                host, _ = self._server.accept()
            except OSError:
                return
            self._cut.clear()
            board = os.open(self._board, os.O_RDWR | os.O_NOCTTY)
            with host:
                self._carry(host, board)
            os.close(board)
            time.sleep(CUT_S)

    def _carry(self, host: socket.socket, board: int) -> None:
        while not self._cut.is_set():
            ready, _, _ = select.select([host, board], [], [], 0.001)
            if board in ready:
                host.sendall(os.read(board, 4096))
            if host in ready:
                data = host.recv(4096)
                if not data:
                    return
                while data:
                    data = data[os.write(board, data) :]
