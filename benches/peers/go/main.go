// Go's net/http in a process of its own: the same arguments and the same JSON as clients.py.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func cpu() float64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func main() {
	url, ca := os.Args[1], os.Args[2]
	tasks, _ := strconv.Atoi(os.Args[3])
	seconds, _ := strconv.ParseFloat(os.Args[4], 64)
	// One core, as the others have one interpreter.
	runtime.GOMAXPROCS(1)
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		panic("no CA")
	}
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 32,
		TLSClientConfig:     &tls.Config{RootCAs: roots},
	}}
	get := func() {
		response, err := client.Get(url)
		if err != nil {
			panic(err)
		}
		if _, err = io.ReadAll(response.Body); err != nil {
			panic(err)
		}
		response.Body.Close()
	}
	for i := 0; i < 60; i++ {
		get()
	}
	var calls atomic.Int64
	var group sync.WaitGroup
	began, used := time.Now(), cpu()
	until := began.Add(time.Duration(seconds * float64(time.Second)))
	for i := 0; i < tasks; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for time.Now().Before(until) {
				get()
				calls.Add(1)
			}
		}()
	}
	group.Wait()
	out, _ := json.Marshal(map[string]any{
		"calls": calls.Load(), "wall": time.Since(began).Seconds(), "cpu": cpu() - used, "version": runtime.Version(),
	})
	fmt.Println(string(out))
}
