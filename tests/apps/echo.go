// The application of echo.py on Go's net/http.
package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

func main() {
	big := bytes.Repeat([]byte("0123456789abcdef"), 65536)
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/port":
			_, port, _ := net.SplitHostPort(r.RemoteAddr)
			io.WriteString(w, port)
		case "/big":
			w.Header().Set("Content-Length", strconv.Itoa(len(big)))
			w.Write(big)
		case "/pieces":
			for i := 0; i < 100; i++ {
				io.WriteString(w, "piece of a body\n")
				w.(http.Flusher).Flush()
			}
		case "/echo":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.Write(body)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		default:
			io.WriteString(w, "ok")
		}
	}
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(handler)); err != nil {
		os.Exit(1)
	}
}
