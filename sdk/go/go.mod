module github.com/msb-dev/msb/sdk/go

go 1.19
